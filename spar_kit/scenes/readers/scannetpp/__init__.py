"""ScanNet++, by its DSLR or its iPhone."""
