"""One reader for each dataset, and how to write your own."""
