"""Who answers, a local model or a server."""
