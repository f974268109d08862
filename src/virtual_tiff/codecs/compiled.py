"""The kernels that are compiled when the package is built (``native/``), where this installation has them.

They are several times faster than what :mod:`~virtual_tiff.codecs.predictor` and :mod:`~virtual_tiff.codecs.packing` do
by libraries in their place, and return the same bytes.
"""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

type Octets = npt.NDArray[np.uint8]

LIBRARY: Final = Path(__file__).with_name("_kernels.so")
"""Where the build puts the kernels, under this name on every system."""

VERSION: Final = 1
"""Of the parameters of the compiled functions; a library of another version is left alone."""

_PROMPT_BYTES: Final = 1 << 18
"""Up to here other threads may wait: handing Python's lock over would take longer."""


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


def _declare(library: ctypes.CDLL) -> None:
    """Check the version of a library, and state the parameters of its functions."""
    version = library.virtual_tiff_kernels()
    if version != VERSION:
        raise OSError(f"the kernels have version {version}, not {VERSION}, or need another processor")
    sizes = [ctypes.c_size_t] * 4
    library.virtual_tiff_horizontal.argtypes = [ctypes.c_void_p, *sizes, ctypes.c_int]
    library.virtual_tiff_floating_point.argtypes = [ctypes.c_void_p, ctypes.c_void_p, *sizes]
    library.virtual_tiff_bits.argtypes = [ctypes.c_void_p, ctypes.c_void_p, *sizes, ctypes.c_size_t, ctypes.c_int]


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
