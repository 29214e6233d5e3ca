"""From numbers to sentences: templates, names, answers."""
