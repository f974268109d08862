"""The kernels that are compiled when the package is built (``native/``), where this installation has them.

They are several times faster than what :mod:`~virtual_tiff.codecs.predictor` and :mod:`~virtual_tiff.codecs.packing` do
by libraries in their place, and return the same bytes.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

type Octets = npt.NDArray[np.uint8]

LIBRARY: Final = Path(__file__).with_name("_kernels.so")
"""Where the build puts the kernels, under this name on every system."""

VERSION: Final = 5
"""Of the parameters of the compiled functions; a library of another version is left alone."""

_FUNCTIONS: Final = 12
"""Of other libraries that the kernels use."""

_PROMPT_BYTES: Final = 1 << 18
"""Up to here other threads may wait: handing Python's lock over would take longer."""


class Recipe(ctypes.Structure):
    """How the segments of an array are decoded by one call; the order and the types of the fields are those in C.

    ``rows`` and ``row_bytes`` are those of a full segment; ``width`` and ``distance`` the bytes of a sample, and
    between a sample and the one that it is a difference to; ``compression`` is 5, 7, 8 or 50000, ``predictor`` 1, 2 or
    3. ``samples`` are those of a pixel; ``in_planes`` says whether they are taken apart. Of JPEG, ``tables`` are the
    bytes of the tag, and ``is_ycbcr`` says whether it is that which becomes RGB.
    """

    _fields_ = (
        *((name, ctypes.c_size_t) for name in ("rows", "row_bytes", "width", "distance")),
        ("tables", ctypes.c_char_p),
        ("tables_size", ctypes.c_size_t),
        *((name, ctypes.c_uint32) for name in ("compression", "predictor", "big", "samples", "in_planes", "is_ycbcr")),
    )


class Kernels:
    """The kernels of one library.

    Parameters
    ----------
    path
        The shared library.

    Raises
    ------
    OSError
        When the library cannot be loaded, is incomplete or of another version, or needs another processor.
    """

    def __init__(self, path: Path) -> None:
        _check_complete(path)
        # the one lets go of Python's lock while a function runs, the other does not
        self._apart, self._prompt = ctypes.CDLL(str(path)), ctypes.PyDLL(str(path))
        for library in (self._apart, self._prompt):
            try:
                _declare(library)
            except AttributeError as error:
                raise OSError(str(error)) from error

    def horizontal(self, rows: Octets, width: int, distance: int, *, big: bool) -> bool:
        """Sum up samples within rows, in place.

        Parameters
        ----------
        rows
            Contiguous bytes of shape (rows, row bytes).
        width
            Bytes of a sample; a row has a whole number of them.
        distance
            Bytes between a sample and the one that it is a difference to.
        big
            Whether samples are big-endian; those that are returned never are.

        Returns
        -------
        bool
            False when nothing has been done: the kernel is for other widths and distances.
        """
        library = self._prompt if rows.size <= _PROMPT_BYTES else self._apart
        return bool(library.virtual_tiff_horizontal(_address(rows), *rows.shape, width, distance, big))

    def floating_point(self, rows: Octets, out: Octets, width: int, distance: int) -> bool:
        """Sum up bytes within rows, in place, and put samples together.

        Parameters
        ----------
        rows
            Contiguous bytes of shape (rows, row bytes): planes, that of the most significant bytes first.
        out
            Memory of the same shape for little-endian samples.
        width
            Bytes of a sample.
        distance
            Bytes between a byte and the one that it is a difference to.

        Returns
        -------
        bool
            False when nothing has been done: the kernel is for other distances.
        """
        library = self._prompt if rows.size <= _PROMPT_BYTES else self._apart
        addresses = _address(rows), _address(out)
        return bool(library.virtual_tiff_floating_point(*addresses, *rows.shape, width, distance))

    def bits(self, packed: Octets, out: npt.NDArray[np.unsignedinteger], depth: int, *, signed: bool) -> bool:
        """Unpack rows that are streams of bits.

        Parameters
        ----------
        packed
            Contiguous bytes of shape (rows, row bytes).
        out
            Memory of shape (rows, samples) for little-endian samples.
        depth
            Bits of a sample.
        signed
            Whether samples are two's complement, whose sign is extended.

        Returns
        -------
        bool
            False when nothing has been done: the kernel is for other types and depths.
        """
        library = self._prompt if out.nbytes <= _PROMPT_BYTES else self._apart
        sizes = *packed.shape, out.shape[1], depth, out.itemsize
        return bool(library.virtual_tiff_bits(_address_to_read(packed), _address(out), *sizes, signed))

    def planes(self, pixels: Octets, out: Octets, samples: int, width: int) -> None:
        """Take samples apart.

        Parameters
        ----------
        pixels
            Contiguous bytes of pixels.
        out
            Memory of the same size: a plane of each sample behind that of the one before.
        samples
            Those of a pixel.
        width
            Bytes of a sample.
        """
        count, rest = divmod(pixels.size, samples * width)
        if rest or out.size != pixels.size:
            raise ValueError(f"{out.size} bytes of memory for {pixels.size} of pixels of {samples} x {width}")
        library = self._prompt if out.size <= _PROMPT_BYTES else self._apart
        read, written = _address_to_read(pixels), _address(out)
        library.virtual_tiff_planes(read, count, samples, width, written, count * width)

    def use(self, functions: Sequence[int | None]) -> bool:
        """Decompress by functions of other libraries.

        Parameters
        ----------
        functions
            Addresses of libdeflate's and libzstd's functions that make and use a decompressor, and of libjpeg's; None
            for those of a library that the process lacks.

        Returns
        -------
        bool
            Whether JPEG is decoded: by a libjpeg whose structures are those that the kernels know.
        """
        return bool(self._apart.virtual_tiff_libraries((ctypes.c_void_p * _FUNCTIONS)(*functions)))

    def segment(self, recipe: Recipe, encoded: Octets, out: Octets) -> bool:
        """Decode a segment.

        Parameters
        ----------
        recipe
            How it is encoded.
        encoded
            Its bytes, contiguous.
        out
            Memory for as many bytes as a full segment has.

        Returns
        -------
        bool
            False when there is something unusual about the segment; what is in `out` means nothing then.
        """
        _check_size(recipe, out)
        address = _address_to_read(encoded)
        return bool(self._apart.virtual_tiff_segment(recipe, address, encoded.size, _address(out)))

    def start(self, threads: int) -> bool:
        """Start threads that decode, unless they run already; whether any do."""
        return bool(self._apart.virtual_tiff_start(threads)) if os.name == "posix" else False

    def stop(self) -> None:
        """Wait for the threads to end; nothing can be submitted from then on."""
        self._apart.virtual_tiff_stop()

    def forked(self) -> None:
        """Forget the threads and lines of the parent, in the child of a fork."""
        self._prompt.virtual_tiff_forked()

    def open_line(self) -> Line:
        """Open a line.

        Raises
        ------
        OSError
            When there is no descriptor left for it.
        """
        line = self._prompt.virtual_tiff_open()
        if not line:
            raise OSError("a line of jobs cannot be opened")
        return Line(line, self._prompt, self._apart)


class Line:
    """Jobs that threads decode without Python's lock, and that an event loop waits for.

    What is submitted must be kept until it is collected, or the line closed.
    """

    _MOST: Final = 64

    def __init__(self, line: int, prompt: ctypes.CDLL, apart: ctypes.CDLL) -> None:
        self._line, self._prompt, self._apart = line, prompt, apart
        self._numbers, self._decoded = (ctypes.c_uint64 * self._MOST)(), (ctypes.c_int * self._MOST)()

    @property
    def descriptor(self) -> int:
        """What can be read from when there are jobs to collect."""
        return int(self._prompt.virtual_tiff_signal(self._line))

    def submit(self, number: int, recipe: Recipe, encoded: Octets, out: Octets) -> bool:
        """Let a thread decode what :meth:`Kernels.segment` would decode here; whether one will."""
        _check_size(recipe, out)
        read = _address_to_read(encoded), encoded.size
        return bool(self._prompt.virtual_tiff_submit(self._line, number, recipe, *read, _address(out)))

    def help(self, spared: int, size: int) -> bool:
        """Decode one of the jobs here, unless they are few; whether one is to be collected now.

        Parameters
        ----------
        spared
            How many are left to the threads.
        size
            About how many bytes a job decodes to.
        """
        library = self._prompt if size <= _PROMPT_BYTES else self._apart
        return bool(library.virtual_tiff_help(self._line, spared))

    def drop(self, number: int) -> bool:
        """Drop a job, unless it has begun; whether it is dropped, and its memory free."""
        return bool(self._prompt.virtual_tiff_drop(self._line, number))

    def collect(self) -> list[tuple[int, bool]]:
        """Return the numbers of some jobs that are done, and whether they are decoded."""
        count = self._prompt.virtual_tiff_collect(self._line, self._numbers, self._decoded, self._MOST)
        return [(self._numbers[i], bool(self._decoded[i])) for i in range(count)]

    def close(self) -> None:
        """Wait for the jobs that threads are at, and drop the others."""
        self._apart.virtual_tiff_close(self._line)


def _check_size(recipe: Recipe, out: Octets) -> None:
    if out.size != recipe.rows * recipe.row_bytes:
        raise ValueError(f"{out.size} bytes of memory for a segment of {recipe.rows * recipe.row_bytes}")


def _declare(library: ctypes.CDLL) -> None:
    """Check the version of a library, and state the parameters of its functions."""
    version = library.virtual_tiff_kernels()
    if version != VERSION:
        raise OSError(f"the kernels have version {version}, not {VERSION}, or need another processor")
    sizes = [ctypes.c_size_t] * 4
    library.virtual_tiff_horizontal.argtypes = [ctypes.c_void_p, *sizes, ctypes.c_int]
    library.virtual_tiff_floating_point.argtypes = [ctypes.c_void_p, ctypes.c_void_p, *sizes]
    library.virtual_tiff_bits.argtypes = [ctypes.c_void_p, ctypes.c_void_p, *sizes, ctypes.c_size_t, ctypes.c_int]
    library.virtual_tiff_planes.argtypes = [ctypes.c_void_p, *sizes[:3], ctypes.c_void_p, ctypes.c_size_t]
    library.virtual_tiff_planes.restype = None
    library.virtual_tiff_libraries.argtypes = [ctypes.c_void_p]
    segment = ctypes.POINTER(Recipe), ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p
    library.virtual_tiff_segment.argtypes = segment
    if os.name == "posix":
        library.virtual_tiff_start.argtypes = [ctypes.c_size_t]
        library.virtual_tiff_stop.restype = library.virtual_tiff_forked.restype = None
        library.virtual_tiff_open.restype = ctypes.c_void_p
        library.virtual_tiff_submit.argtypes = [ctypes.c_void_p, ctypes.c_uint64, *segment]
        library.virtual_tiff_collect.argtypes = [*[ctypes.c_void_p] * 3, ctypes.c_size_t]
        library.virtual_tiff_collect.restype = ctypes.c_size_t
        library.virtual_tiff_help.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        library.virtual_tiff_drop.argtypes = [ctypes.c_void_p, ctypes.c_uint64]
        library.virtual_tiff_signal.argtypes = library.virtual_tiff_close.argtypes = [ctypes.c_void_p]


def _check_complete(path: Path) -> None:
    """Refuse an ELF file that ends before its table of sections, its last part: loading it would kill the process."""
    with path.open("rb") as file:
        head, size = file.read(64), file.seek(0, 2)
    if head[:6] != b"\x7fELF\x02\x01":
        return
    table, entry_bytes, entries = struct.unpack_from("<40xQ10xHH", head.ljust(64, b"\0"))
    if size < table + entry_bytes * entries:
        raise OSError(f"{path} is incomplete")


def _address(memory: npt.NDArray[np.unsignedinteger]) -> int:
    """Where memory begins; an error when it is read-only or not contiguous."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def _address_to_read(octets: Octets) -> int:
    """Where bytes begin that may be read-only, for which ctypes has no quick way."""
    if octets.flags.writeable:
        return _address(octets)
    if not octets.flags.c_contiguous:
        raise TypeError("bytes are not contiguous")
    return int(octets.__array_interface__["data"][0])


def load() -> Kernels | None:
    """Return the kernels of this installation, or None when it has none for this machine."""
    try:
        return Kernels(LIBRARY)
    except OSError:
        return None


KERNELS: Final = load()
