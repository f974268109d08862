"""Read time: all that a consumer of a published store needs.

This room imports numpy, imagecodecs, zarr's and numcodecs' codec base classes and :mod:`virtual_tiff.errors`,
and nothing else of virtual-tiff.
"""
