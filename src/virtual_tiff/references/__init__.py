"""References in the form of kerchunk: JSON or Parquet, with metadata of Zarr v3 or v2, that fsspec reads."""
