"""Where on Earth and what the values mean: geo keys, GDAL's metadata, and the conventions that readers expect."""
