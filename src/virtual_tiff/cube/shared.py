"""What the metadata of many files have in common: that is what their cube says of itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from virtual_tiff.geo.conventions import Conventions, conventions
from virtual_tiff.geo.gdal_metadata import RasterMetadata
from virtual_tiff.geo.georef import GeoReference

VALUE_ATTRIBUTES = ("_FillValue", "scale_factor", "add_offset")
"""By these attributes xarray changes the values that it reads."""


def shared_conventions(
    geo: GeoReference,
    metadata: Sequence[RasterMetadata],
    *,
    shape: Sequence[int],
    dims: Sequence[str],
    dtype: np.dtype[Any],
    value_attributes: bool = True,
) -> Conventions:
    """The attributes and coordinates of an array made of many files.

    Parameters
    ----------
    geo
        Where the array lies.
    metadata
        What the values of each file mean; the files conform.
    shape, dims, dtype
        Of the array, without leading axes.
    value_attributes
        Whether to write what makes xarray mask nodata, scale and offset by default.
    """
    found = conventions(geo, shared_metadata(metadata), shape=shape, dims=dims, dtype=dtype)
    if value_attributes:
        return found
    kept = {key: value for key, value in found.array.items() if key not in VALUE_ATTRIBUTES}
    return replace(found, array=kept)


def shared_metadata(all_metadata: Sequence[RasterMetadata]) -> RasterMetadata:
    """The metadata that all files agree in, without dates, statistics and their like where they differ."""
    first, *others = all_metadata
    if not others:
        return first
    same_descriptions = all(other.descriptions == first.descriptions for other in others)
    same_colors = all(other.color_interpretation == first.color_interpretation for other in others)
    bands = len(first.descriptions)
    return replace(
        first,
        descriptions=first.descriptions if same_descriptions else (None,) * bands,
        color_interpretation=first.color_interpretation if same_colors else ("undefined",) * bands,
        tags=_agreed(metadata.tags for metadata in all_metadata),
        domains=_agreed(metadata.domains for metadata in all_metadata),
        statistics=tuple(_agreed(band) for band in zip(*(m.statistics for m in all_metadata), strict=False)),
        band_tags=tuple(_agreed(band) for band in zip(*(m.band_tags for m in all_metadata), strict=False)),
        band_domains=tuple(_agreed(band) for band in zip(*(m.band_domains for m in all_metadata), strict=False)),
    )


def _agreed(mappings: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The items that all mappings have."""
    first, *others = mappings
    return {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
