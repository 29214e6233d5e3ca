"""Derives every answer again from the files on disk. Shares no code with the generator."""
