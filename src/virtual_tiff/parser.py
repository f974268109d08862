"""``VirtualTIFF``: the VirtualiZarr parser for one TIFF."""

from __future__ import annotations

import warnings
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any, Literal, get_args

from obspec_utils.registry import ObjectStoreRegistry
from virtualizarr.manifests import ManifestStore

from virtual_tiff.bandaxis import BandAxis
from virtual_tiff.chunks import ChunkOptions, Codecs, ShortStrips
from virtual_tiff.coding import Color
from virtual_tiff.errors import SourceError, UsageError, VirtualTiffError
from virtual_tiff.group import ImageOptions, VirtualGroup, flat_group, image_group, parent_images
from virtual_tiff.manifest import PyramidStore, manifest_group
from virtual_tiff.sidecar import whole_image
from virtual_tiff.store import resolve
from virtual_tiff.tiff.ifd import IfdPath, TiffFile
from virtual_tiff.tiff.protocol import Limits
from virtual_tiff.tiff.source import Source, read_tiff

type IfdLayout = Literal["pyramid", "flat", "nested"]
type OnError = Literal["raise", "warn", "skip"]


@dataclass(frozen=True)
class VirtualTIFF:
    """Parse a TIFF file into a VirtualiZarr ManifestStore of byte ranges.

    Parameters
    ----------
    ifd
        The image to expose: an index into the chain of IFDs, a path such as ``(3, 0)`` for the first SubIFD of IFD 3,
        or None for the whole file.
    ifd_layout
        How the whole file is laid out. "pyramid": a group per level of its first image, "0" the finest, with the mask
        as a variable beside the image; "flat": all IFDs as arrays "0", "1", ... in one group; "nested": a group for
        each IFD. Ignored when `ifd` chooses one image, which then stands at the root.
    name
        Name of the variable of an image that `ifd` chooses, and of each level of a pyramid.
    coordinates
        Whether the pixel centres are stored as ``x`` and ``y``.
    short_strips
        What to do with a last strip that is shorter than the others: "auto" chooses, "pad" lets the codec
        pad it, "inline" stores it padded in the manifest, "rectilinear" makes a rectilinear chunk grid (which few
        clients read), "error" refuses it.
    target_chunk_bytes
        Size to which uncompressed strips are merged or cut.
    codecs
        "core" prefers the codecs that every Zarr client has; "segment" decodes all that is compressed with
        ``virtual_tiff.segment``, which is faster but must be installed where the array is read.
    color
        None for samples as they are stored (JPEG of YCbCr gives RGB all the same, as with every decoder); "rgb" to
        have palettes, YCbCr, CMYK and L*a*b* converted.
    band_axis
        Where the bands of an array stand: "first", ``(band, y, x)``, or "last", ``(y, x, band)``; of a stack
        ``(plane, y, x, band)``. The chunks are the same bytes; with bands last no ``transpose`` codec is needed, which
        GDAL misreads. Images of one band have no such axis.
    sidecars
        Whether overviews and masks are also looked for in files beside this one (``.ovr``, ``.msk``, ``.msk.ovr``
        behind its name): three requests more. For the "pyramid" layout; a file that is not there is no error.
    on_error
        What to do, when a whole file is asked for, with an IFD that is refused: "raise" its error, "warn" and leave it
        out, or "skip" it silently. The finest level of a pyramid is never left out.
    prefetch
        Bytes of the first request.
    limits
        Limits against hostile files.

    Examples
    --------
    >>> parser = VirtualTIFF(ifd=0)  # doctest: +SKIP
    >>> store = parser(url="s3://bucket/a/B04.tif", registry=registry)  # doctest: +SKIP
    >>> xr.open_zarr(store, zarr_format=3, consolidated=False)  # doctest: +SKIP
    """

    ifd: int | IfdPath | None = None
    ifd_layout: IfdLayout = "pyramid"
    _: KW_ONLY
    name: str = "band_data"
    coordinates: bool = True
    short_strips: ShortStrips = "auto"
    target_chunk_bytes: int = 1 << 20
    codecs: Codecs = "core"
    color: Color | None = None
    band_axis: BandAxis = "first"
    sidecars: bool = False
    on_error: OnError = "raise"
    prefetch: int = 32768
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        for option, choices in (("ifd_layout", IfdLayout), ("on_error", OnError)):
            allowed = get_args(choices.__value__)
            if getattr(self, option) not in allowed:
                found = f"{option}={getattr(self, option)!r}"
                raise UsageError(found, feature="usage", hint=f"Choose one of {', '.join(allowed)}.")
        if not self.name or "/" in self.name:
            found = f"name={self.name!r}"
            raise UsageError(found, feature="usage", hint="A variable's name has no '/'.")
        self._options()

    def __call__(self, url: str, registry: ObjectStoreRegistry[Any]) -> ManifestStore:
        """Read the headers of one file.

        Parameters
        ----------
        url
            The file, with its scheme: ``s3://``, ``https://``, ``file://``, ... Its path is taken as it is, not
            decoded; one with ``#`` or ``?`` in it, which VirtualiZarr would leave out, is refused.
        registry
            Knows the store that serves the URL.

        Returns
        -------
        ManifestStore
            A read-only Zarr v3 store whose chunks are byte ranges of the file.

        Raises
        ------
        VirtualTiffError
            When the file cannot be read, is damaged, or holds what is refused; the error names the feature.
        """
        source = Source(*resolve(registry, url), url, prefetch=self.prefetch, limits=self.limits)
        tiff = read_tiff(source, last=_last_ifd(self.ifd))
        if self.ifd is not None:
            group = source.run(image_group(tiff, self.ifd, self._options()))
        elif self.ifd_layout == "pyramid":
            group = whole_image(source, tiff, sidecars=self.sidecars).group(self._options(), self._handle)
        else:
            group = self._all_images(source, tiff)
        return PyramidStore(manifest_group(group), registry=registry)

    def _options(self) -> ImageOptions:
        chunks = ChunkOptions(self.short_strips, self.target_chunk_bytes, self.color, self.codecs)
        return ImageOptions(self.name, self.coordinates, chunks, self.band_axis)

    def _all_images(self, source: Source, tiff: TiffFile) -> VirtualGroup:
        """Every IFD, named by its path: "0", "1", and "1_0" for a SubIFD."""
        for problem in tiff.problems:
            self._handle(problem.at(url=tiff.url))
        images: dict[str, VirtualGroup] = {}
        parents = parent_images(tiff)
        for ifd in tiff.walk():
            name = "_".join(map(str, ifd.path))
            options = replace(self._options(), name=name)
            try:
                images[name] = source.run(image_group(tiff, ifd.path, options, parents=parents))
            except SourceError:
                raise
            except VirtualTiffError as error:
                self._handle(error)
        return VirtualGroup(groups=images) if self.ifd_layout == "nested" else flat_group(images)

    def _handle(self, error: VirtualTiffError) -> None:
        if self.on_error == "raise":
            raise error
        if self.on_error == "warn":
            warnings.warn(f"left out: {error}", stacklevel=4)


def _last_ifd(ifd: int | IfdPath | None) -> int | None:
    """The last IFD of the main chain that has to be read."""
    if ifd is None:
        return None
    first = ifd if isinstance(ifd, int) else ifd[0] if ifd else 0
    return max(first, 0)
