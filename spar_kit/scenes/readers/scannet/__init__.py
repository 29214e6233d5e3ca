"""ScanNet v2, read and written."""
