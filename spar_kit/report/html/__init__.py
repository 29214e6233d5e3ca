"""Templates and content policy of every page."""
