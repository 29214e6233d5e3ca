"""What each task puts into its sentences."""
