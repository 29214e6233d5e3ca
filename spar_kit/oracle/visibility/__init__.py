"""Whether what a record calls visible is visible."""
