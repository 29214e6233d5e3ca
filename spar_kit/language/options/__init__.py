"""Wrong options that are surely wrong and do not give the right one away."""
