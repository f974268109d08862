"""Zeiss LSM files of 4 GiB and more: classic TIFF whose offsets of strips wrap around at 2**32.

All IFDs lie below 4 GiB. The strips lie in the file in the order in which they were recorded, so that an offset which
is smaller than the one before has wrapped around once more. Images and thumbnails take turns; the order of pairs is
that of the IFDs, unless there are several of time, position and tile: these vary from slowest to fastest in the
recording, and the other way round in the chain of IFDs.

References
----------
LSM 5/7 Image File Format Description, release 6.0; tifffile and Bio-Formats unwrap these offsets too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from virtual_tiff.errors import FormatError
from virtual_tiff.tiff.ifd import TagEntry
from virtual_tiff.tiff.tags import Tags, TagType

type Offsets = npt.NDArray[np.int64]

NEEDED: Final = (Tags.StripOffsets, Tags.LSMInfo)
"""Tags that unwrapping needs, of all IFDs and of the first."""

WRAP: Final = 2**32
_MAGIC: Final = frozenset({0x0300494C, 0x0400494C})
_LENGTH, _TIMES, _POSITIONS, _TILES = 4, 24, 264, 268  # places of 32-bit integers in the LSMInfo tag


def unwrap(pages: Sequence[dict[int, TagEntry]], size: int, *, is_whole: bool) -> None:
    """Replace the offsets of strips of all IFDs of the main chain by true ones.

    Parameters
    ----------
    pages
        The entries of each IFD, in the order of the chain.
    size
        Bytes of the file.
    is_whole
        Whether these are all IFDs: else the order of the recording is not known.

    Raises
    ------
    FormatError
        ``wrapped-offsets`` when the order of the strips is not known, or leads out of the file.
    """
    if not is_whole:
        raise _refusal("its chain of IFDs is damaged")
    stored = [_stored(entries) for entries in pages]
    true = true_offsets(pages[0][Tags.LSMInfo][3] or b"", stored, size)
    for entries, offsets in zip(pages, true, strict=True):
        place = entries[Tags.StripOffsets][2]
        entries[Tags.StripOffsets] = (int(TagType.LONG8), offsets.size, place, offsets.astype("<u8").tobytes())


def _stored(entries: dict[int, TagEntry]) -> Offsets:
    kind, _, _, raw = entries.get(Tags.StripOffsets, (0, 0, 0, None))
    if raw is None or kind not in (TagType.SHORT, TagType.LONG) or Tags.SubIFDs in entries:
        raise _refusal("not all of its IFDs say where their strips are")
    return np.frombuffer(raw, "<u4" if kind == TagType.LONG else "<u2").astype(np.int64)


def true_offsets(lsm_info: bytes, pages: Sequence[Offsets], size: int) -> list[Offsets]:
    """Unwrap the offsets of each IFD; zeros are strips that are absent."""
    order = _recorded(lsm_info, pages)
    stored = np.concatenate([pages[index] for index in order])
    true = np.zeros_like(stored)
    present = stored > 0
    offsets = stored[present]
    true[present] = offsets + WRAP * np.cumsum(np.diff(offsets, prepend=0) < 0)
    last = int(true.max(initial=0))
    if last >= size or (size - last >= WRAP and present.all()):
        # a wrong order wraps too often, and after a gap of 4 GiB too seldom
        raise _refusal(f"its last strip would lie at {last} of {size} bytes")
    unwrapped: list[Offsets] = [true[:0]] * len(pages)
    ends = np.cumsum([pages[index].size for index in order])
    for index, part in zip(order, np.split(true, ends[:-1]), strict=True):
        unwrapped[index] = part
    return unwrapped


def _recorded(lsm_info: bytes, pages: Sequence[Offsets]) -> list[int]:
    """Return the indices of the IFDs in the order in which their strips were written."""
    if len(lsm_info) < 28 or _integer(lsm_info, 0) not in _MAGIC:
        raise _refusal("its LSMInfo tag is damaged")
    times, positions, tiles = (max(1, _integer(lsm_info, place)) for place in (_TIMES, _POSITIONS, _TILES))
    if len(pages) % 2:
        raise _refusal(f"its {len(pages)} IFDs are no pairs of images and thumbnails")
    pairs = np.arange(len(pages)).reshape(-1, 2)
    if sum(number > 1 for number in (times, positions, tiles)) > 1:
        if len(pairs) % (times * positions * tiles):
            raise _refusal(f"its {len(pairs)} images are not {tiles} tiles of {positions} positions at {times} times")
        pairs = pairs.reshape(tiles, positions, times, -1, 2).transpose(2, 1, 0, 3, 4).reshape(-1, 2)
    if pages[0].size and pages[1].size and pages[0][0] > pages[1][0]:
        pairs = pairs[:, ::-1]
    order: list[int] = pairs.reshape(-1).tolist()
    return order


def _integer(lsm_info: bytes, place: int) -> int:
    """Return an integer of the tag, or 0 behind its end: older releases wrote shorter ones."""
    end = min(len(lsm_info), int.from_bytes(lsm_info[_LENGTH : _LENGTH + 4], "little"))
    return int.from_bytes(lsm_info[place : place + 4], "little", signed=True) if place + 4 <= end else 0


def _refusal(reason: str) -> FormatError:
    found = f"a Zeiss LSM file of 4 GiB or more whose offsets cannot be unwrapped: {reason}"
    return FormatError(found, feature="wrapped-offsets", ifd=(0,), tag=Tags.StripOffsets)
