"""The role of each IFD, and the levels of each image.

References
----------
TIFF 6, section 8 (NewSubfileType); https://gdal.org/drivers/raster/gtiff.html (internal overviews and masks)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf
from typing import Final, Literal

from virtual_tiff.errors import VirtualTiffError
from virtual_tiff.tiff.ifd import Ifd, IfdPath, TiffFile

type Role = Literal["image", "overview", "mask", "thumbnail", "page"]

_NEW_SUBFILE_TYPE: Final = 254
_SUBFILE_TYPE: Final = 255
_WIDTH: Final = 256
_LENGTH: Final = 257
_BITS: Final = 258
_PHOTOMETRIC: Final = 262
_SAMPLES: Final = 277
_TILE_WIDTH: Final = 322
_TILE_LENGTH: Final = 323
_SAMPLE_FORMAT: Final = 339
_GEO_TAGS: Final = frozenset({33550, 33922, 34264, 34735})

_REDUCED: Final = 1
_MASK: Final = 4
_OLD_REDUCED: Final = 2
_FACTORS: Final = (2, 3, 4)
_SLACK: Final = 1.05
"""By how much the factors of width and height may differ, for writers that crop."""


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution of an image.

    ``width`` and ``height`` are in pixels of this level; ``scale_x`` and ``scale_y`` are the pixels of the
    finest level
    per pixel of this one. ``mask`` is the path of the mask of the same size, or None.
    """

    path: IfdPath
    width: int
    height: int
    scale_x: float
    scale_y: float
    mask: IfdPath | None = None


@dataclass(frozen=True, slots=True)
class Pyramid:
    """An image with its overviews, finest level first.

    ``inferred`` says that no flag, but only the sizes of consecutive IFDs make its overviews.
    """

    levels: tuple[Level, ...]
    inferred: bool = False

    @property
    def path(self) -> IfdPath:
        """Path of the image's IFD."""
        return self.levels[0].path


@dataclass(slots=True)
class _Page:
    """What is known of one IFD, as it finds its role."""

    ifd: Ifd
    width: int
    height: int
    samples: int
    flags: int
    role: Role = "page"

    @property
    def path(self) -> IfdPath:
        return self.ifd.path

    @property
    def is_reduced(self) -> bool:
        return bool(self.flags & _REDUCED) and not self.flags & _MASK

    @property
    def is_mask(self) -> bool:
        return bool(self.flags & _MASK)


@dataclass(slots=True)
class _Image:
    page: _Page
    overviews: list[_Page]
    masks: dict[IfdPath, _Page]
    inferred: bool = False


def roles(tiff: TiffFile, *, size_chains: bool = True) -> dict[IfdPath, Role]:
    """Return the role of every IFD with a usable size.

    The first full image is the "image", further ones are "page". Reduced images that belong to no image (other bands,
    another shape, or larger than it) are "thumbnail".
    """
    pages, _ = _assigned(tiff, size_chains=size_chains)
    return {page.path: page.role for page in pages}


def pyramids(tiff: TiffFile, *, size_chains: bool = True) -> tuple[Pyramid, ...]:
    """Return the images of a file with their overviews and masks, in the order of the file.

    Parameters
    ----------
    tiff
        The headers of the file.
    size_chains
        Whether tiled IFDs without any flag, each half, a third or a quarter of the one before, are
        overviews. GDAL
        takes them for pages.
    """
    _, images = _assigned(tiff, size_chains=size_chains)
    return tuple(_pyramid(image) for image in images)


def _pyramid(image: _Image) -> Pyramid:
    finest = image.page
    pages = [finest, *sorted(image.overviews, key=lambda page: -page.width * page.height)]
    levels = tuple(
        Level(
            page.path,
            page.width,
            page.height,
            finest.width / page.width,
            finest.height / page.height,
            image.masks[page.path].path if page.path in image.masks else None,
        )
        for page in pages
    )
    return Pyramid(levels, image.inferred)


def _assigned(tiff: TiffFile, *, size_chains: bool) -> tuple[list[_Page], list[_Image]]:
    """Give every IFD its role."""
    chain = list(_pages(tiff.ifds))
    images: list[_Image] = []
    everything: list[_Page] = []
    for page in chain:
        children = [child for child in _pages(page.ifd.walk()) if child.path != page.path]
        everything += [page, *children]
        _place(page, children, images)
    if images and not any(image.page.role == "image" for image in images):
        images[0].page.role = "image"
    if size_chains:
        images = _joined(images)
    return everything, images


def _place(page: _Page, children: list[_Page], images: list[_Image]) -> None:
    """Make a page of the main chain an image, or a part of an image before it; then place its SubIFDs."""
    if page.is_mask and images:
        _attach_mask(page, images)
    elif page.is_reduced and images:
        _attach_overview(page, reversed(images))
    elif page.is_reduced and any(not child.flags & (_REDUCED | _MASK) for child in children):
        page.role = "thumbnail"
    else:
        images.append(_Image(page, [], {}))
    own = [image for image in images if image.page is page]
    for child in children:
        if child.is_mask:
            _attach_mask(child, own or images)
        elif child.is_reduced:
            _attach_overview(child, own or reversed(images))
        else:
            images.append(_Image(child, [], {}))


def _attach_overview(page: _Page, images: Iterable[_Image]) -> None:
    page.role = "thumbnail"
    for image in images:
        full = image.page
        fits = page.samples == full.samples and page.width <= full.width and page.height <= full.height
        if fits and _same_view(full, page):
            image.overviews.append(page)
            page.role = "overview"
            return


def _same_view(full: _Page, page: _Page) -> bool:
    """Whether one factor makes the sizes of a reduced image, give or take a pixel, or the padding of its last tiles.

    Slides hold photographs of their label and of the whole glass too, and writers say that those are reduced.
    """
    padding = (_integer(page.ifd, _TILE_WIDTH, 1), _integer(page.ifd, _TILE_LENGTH, 1))
    low, high = 1.0, inf
    for size, reduced, more in zip((full.width, full.height), (page.width, page.height), padding, strict=True):
        low = max(low, size / (reduced + 1))
        high = min(high, size / (reduced - more) if reduced > more else inf)
    return low <= high * _SLACK


def _attach_mask(page: _Page, images: list[_Image]) -> None:
    """Give a mask to the level of its size that has none yet."""
    page.role = "mask"
    if max(_integers(page.ifd, _BITS), default=1) > 8:
        return
    for image in images:
        for level in (image.page, *image.overviews):
            same = (level.width, level.height) == (page.width, page.height)
            if same and level.path not in image.masks and page.samples in (1, level.samples):
                image.masks[level.path] = page
                return


def _joined(images: list[_Image]) -> list[_Image]:
    """Join images of consecutive, regularly falling sizes into one: the flagless pyramids of some writers."""
    joined: list[_Image] = []
    for image in images:
        last = joined[-1] if joined else None
        if last is not None and not image.overviews and not image.masks and _continues(last, image.page):
            last.overviews.append(image.page)
            last.inferred = True
            image.page.role = "overview"
        else:
            joined.append(image)
    return joined


def _continues(image: _Image, page: _Page) -> bool:
    """Whether a page looks like the next coarser level of an image."""
    if image.overviews and not image.inferred:
        return False
    before = image.overviews[-1] if image.overviews else image.page
    one, other = before.ifd, page.ifd
    if _TILE_WIDTH not in one.tags or _TILE_WIDTH not in other.tags or _GEO_TAGS & set(other.tags):
        return False
    if len(one.path) != len(other.path) or page.samples != before.samples or page.flags or before.flags:
        return False
    for code in (_BITS, _SAMPLE_FORMAT, _PHOTOMETRIC):
        if _integers(one, code) != _integers(other, code):
            return False
    return any(
        _is_quotient(page.width, before.width, f) and _is_quotient(page.height, before.height, f) for f in _FACTORS
    )


def _is_quotient(size: int, before: int, factor: int) -> bool:
    return size in (before // factor, -(-before // factor)) and size < before


def _pages(ifds: Iterable[Ifd]) -> Iterator[_Page]:
    """Yield the IFDs that have a size."""
    for ifd in ifds:
        width, height = _integer(ifd, _WIDTH, 0), _integer(ifd, _LENGTH, 0)
        if width > 0 and height > 0:
            yield _Page(ifd, width, height, _integer(ifd, _SAMPLES, 1), _flags(ifd))


def _flags(ifd: Ifd) -> int:
    if _NEW_SUBFILE_TYPE in ifd.tags:
        return _integer(ifd, _NEW_SUBFILE_TYPE, 0)
    return _REDUCED if _integer(ifd, _SUBFILE_TYPE, 0) == _OLD_REDUCED else 0


def _integer(ifd: Ifd, code: int, default: int) -> int:
    try:
        return ifd.integer(code, default)
    except VirtualTiffError:
        return default


def _integers(ifd: Ifd, code: int) -> tuple[int, ...]:
    try:
        values = ifd.integers(code)
    except VirtualTiffError:
        return ()
    return () if values is None else tuple(values.tolist())
