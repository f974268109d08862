"""An image with its overviews and masks, those in files beside it too: ``a.tif.ovr``, ``a.tif.msk``, ``a.tif.msk.ovr``.

References
----------
https://gdal.org/drivers/raster/gtiff.html (overviews, nodata mask)
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from virtual_tiff.errors import SourceError, VirtualTiffError
from virtual_tiff.group import (
    DESCRIBING_TAGS,
    Image,
    ImageOptions,
    VirtualGroup,
    described_group,
    first_pyramid,
    read_image,
    tree_group,
)
from virtual_tiff.pyramid import Level, Pyramid, pyramids
from virtual_tiff.tiff.ifd import Ifd, IfdPath, TiffFile
from virtual_tiff.tiff.source import Source, load_tags, read_tiff
from virtual_tiff.tiff.tags import Tags

OVERVIEWS: Final = ".ovr"
MASKS: Final = ".msk"

type OnRefused = Callable[[VirtualTiffError], None]
type _Size = tuple[int, int]


def _raise(error: VirtualTiffError) -> None:
    raise error


@dataclass(frozen=True, slots=True)
class Part:
    """An IFD of one of the files that make up an image."""

    source: Source
    tiff: TiffFile
    path: IfdPath

    def read(self, options: ImageOptions) -> Image:
        """Read what becomes an array and its attributes."""
        return self.source.run(read_image(self.tiff, self.path, options))


@dataclass(frozen=True, slots=True)
class WholeImage:
    """An image with the overviews and masks of its own file and of those beside it.

    ``images`` and ``masks`` have an entry for each level of ``pyramid``, finest first; the paths of these levels
    may be those of another file.
    """

    pyramid: Pyramid
    images: tuple[Part, ...]
    masks: tuple[Part | None, ...]

    def level_group(self, level: int, options: ImageOptions, on_refused: OnRefused = _raise) -> VirtualGroup:
        """Describe one level as a group; it lies where the finest one lies, and its values mean the same."""
        image = self.images[level].read(options)
        main = self._main() if level else None
        return described_group(image, options, main=main, mask=self._mask(level, options, on_refused))

    def group(self, options: ImageOptions, on_refused: OnRefused = _raise) -> VirtualGroup:
        """Describe all levels: a group per level, "0" the finest.

        Parameters
        ----------
        options
            How each level becomes a group.
        on_refused
            Called with the error of an overview or a mask that is refused, which is then left out. By default it raises
            the error, as that of the finest level is raised in any case.
        """
        groups = {0: self.level_group(0, options, on_refused)}
        for number in range(1, len(self.images)):
            try:
                groups[number] = self.level_group(number, options, on_refused)
            except SourceError:
                raise
            except VirtualTiffError as error:
                on_refused(error)
        pyramid = replace(self.pyramid, levels=tuple(self.pyramid.levels[number] for number in groups))
        return tree_group(pyramid, self._main(), list(groups.values()))

    def _mask(self, level: int, options: ImageOptions, on_refused: OnRefused) -> Image | None:
        part = self.masks[level]
        try:
            return None if part is None else part.read(options)
        except SourceError:
            raise
        except VirtualTiffError as error:
            on_refused(error)
            return None

    def _main(self) -> Ifd:
        finest = self.images[0]
        return load_tags(finest.source, finest.tiff.ifd(finest.path), DESCRIBING_TAGS)


def whole_image(source: Source, tiff: TiffFile, *, sidecars: bool = True) -> WholeImage:
    """Find the first image of a file and, when `sidecars` are asked for, what stands in the files beside it.

    Overviews and masks of the file itself come first: those beside it fill in the sizes that are missing. A file
    that does not exist, or may not be read, is no error; one that is damaged is left out with a warning.

    Raises
    ------
    FormatError
        ``no-ifd`` when the file has no image.
    """
    inside = first_pyramid(tiff)
    finest = inside.levels[0]
    bands = _bands(tiff, finest.path)
    images = {(level.width, level.height): Part(source, tiff, level.path) for level in inside.levels}
    masks = {
        (level.width, level.height): Part(source, tiff, level.mask) for level in inside.levels if level.mask is not None
    }
    if sidecars:
        _add_sidecars(source, images, masks, bands)
    sizes = sorted(images, key=lambda size: -size[0] * size[1])
    pyramid = replace(inside, levels=tuple(_level(images[size].path, size, finest) for size in sizes))
    return WholeImage(pyramid, tuple(images[size] for size in sizes), tuple(masks.get(size) for size in sizes))


def _add_sidecars(source: Source, images: dict[_Size, Part], masks: dict[_Size, Part], bands: int) -> None:
    """Add the overviews and masks beside a file, by their sizes; those that are there already win."""
    width, height = next(iter(images))
    for part, size, mask in _parts(_sibling(source, OVERVIEWS)):
        if size[0] <= width and size[1] <= height and _bands(part.tiff, part.path) == bands:
            images.setdefault(size, part)
            if mask is not None:
                masks.setdefault(size, mask)
    for suffix in (MASKS, MASKS + OVERVIEWS):
        for part, size, _ in _parts(_sibling(source, suffix)):
            if _bands(part.tiff, part.path) in {1, bands}:
                masks.setdefault(size, part)


def _level(path: IfdPath, size: _Size, finest: Level) -> Level:
    return Level(path, *size, finest.width / size[0], finest.height / size[1])


def _parts(opened: tuple[Source, TiffFile] | None) -> Iterator[tuple[Part, _Size, Part | None]]:
    """Yield the images of a file with their sizes and masks, whatever they are to one another."""
    if opened is None:
        return
    source, tiff = opened
    for pyramid in pyramids(tiff):
        for level in pyramid.levels:
            mask = None if level.mask is None else Part(source, tiff, level.mask)
            yield Part(source, tiff, level.path), (level.width, level.height), mask


def _sibling(source: Source, suffix: str) -> tuple[Source, TiffFile] | None:
    """Open the file whose name has a suffix more, or return None when it is not there."""
    beside = Source(
        source.store,
        _suffixed(source.path, suffix),
        source.url + suffix if "?" in source.path else _suffixed(source.url, suffix),
        prefetch=source.prefetch,
        limits=source.limits,
    )
    try:
        return beside, read_tiff(beside)
    except SourceError as error:
        if error.feature not in {"not-found", "forbidden"}:
            warnings.warn(f"left out: {error}", stacklevel=5)
    except VirtualTiffError as error:
        warnings.warn(f"left out: {error}", stacklevel=5)
    return None


def _suffixed(url: str, suffix: str) -> str:
    """Put a suffix behind the path of a URL, before its query."""
    path, mark, query = url.partition("?") if url.startswith(("http://", "https://")) else (url, "", "")
    return f"{path}{suffix}{mark}{query}"


def _bands(tiff: TiffFile, path: IfdPath) -> int:
    try:
        return tiff.ifd(path).integer(Tags.SamplesPerPixel, 1)
    except VirtualTiffError:
        return 1
