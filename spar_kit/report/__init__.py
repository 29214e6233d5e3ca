"""HTML pages that open anywhere, offline."""
