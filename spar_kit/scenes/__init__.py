"""What every reader returns: cameras, frames, instances, one mesh. What is visible in them, and how they are looked at."""
