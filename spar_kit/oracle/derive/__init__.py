"""The true answer of each task; `single_view` holds those of two images as well."""
