"""What questions and answers say, read back out of their text; `statements` is for released rows."""
