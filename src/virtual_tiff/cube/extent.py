"""How far a part of a cube reaches along its axes and on the ground, so that more files can be planned into it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from virtual_tiff.cube.blueprint import Footprint
from virtual_tiff.cube.edges import StoredEdges
from virtual_tiff.cube.standing_axis import StandingAxis


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """The leading axes and the grounds of arrays that are there.

    ``grids`` are the grounds of the levels, the finest first; when they are ``fixed``, files are cropped to them, else
    they grow. ``named`` says that the one axis has the names of files; then ``names`` are those of files that take
    the place of older versions, by URL. ``edges`` are the chunks of each array, by the number of its level and its
    name, where these need not have one size.
    """

    axes: tuple[StandingAxis, ...]
    grids: tuple[Footprint, ...]
    named: bool = False
    fixed: bool = False
    names: Mapping[str, str] = field(default_factory=dict)
    edges: Mapping[tuple[int, str], StoredEdges] = field(default_factory=dict)
