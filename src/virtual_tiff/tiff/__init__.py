"""The file as written: header, IFDs and tags. No dtype, no CRS, no Zarr."""
