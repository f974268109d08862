"""Zarr's own codecs for Deflate and ZSTD, decoded by our kernels: the names and the metadata stay zarr's.

``numcodecs.zlib`` does not know how many bytes come, and takes 2.5 times as long as libdeflate, which is told; ``zstd``
hands each chunk to a thread of Python, which takes longer than to decode a small one. Arrays that
:func:`~virtual_tiff.open_cube` opens are decoded by these; :func:`register` makes zarr use them for all arrays, and the
first store of a parsed file that needs one makes zarr use that.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Buffer as Octets
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, Final

import imagecodecs
import numpy as np
import numpy.typing as npt
from zarr.abc.codec import Codec
from zarr.codecs import BytesCodec, ZstdCodec
from zarr.codecs import numcodecs as zarr_numcodecs
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer
from zarr.core.config import config
from zarr.registry import register_codec

from virtual_tiff.codecs import direct
from virtual_tiff.codecs.compiled import Recipe
from virtual_tiff.codecs.prompt import PromptCodec
from virtual_tiff.errors import DecodeError

_SHORT_BYTES: Final = 1 << 17
"""Decoded bytes up to which decoding takes about as long as handing it to another thread."""

_OVERLONG_BYTES: Final = 1 << 20
"""Streams may hold four times the expected bytes and this; beyond that they are taken for hostile."""


class Zlib(PromptCodec, zarr_numcodecs.Zlib):
    """``numcodecs.zlib``, decoded by libdeflate.

    Raises
    ------
    DecodeError
        ``corrupt-segment`` when a chunk does not decode.
    """

    _exact: ClassVar[bool] = False
    """Whether chunks must hold exactly the bytes of their samples: other codecs may stand between."""

    def _recipe(self, chunk_spec: ArraySpec) -> Recipe | None:
        return direct.recipe_of_stream(direct.DEFLATE, _expected(chunk_spec))

    def _effort(self, chunk_spec: ArraySpec) -> tuple[int, int]:
        return _expected(chunk_spec), _SHORT_BYTES

    def _decode_sync(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        expected = _expected(chunk_spec)
        if not expected:
            return zarr_numcodecs.Zlib._decode_sync(self, chunk_data, chunk_spec)  # noqa: SLF001
        decoded = _inflate(chunk_data.as_numpy_array(), expected)
        if self._exact:
            _check(decoded.size, expected, "Deflate")
        return chunk_spec.prototype.buffer.from_array_like(decoded)


class ExactZlib(Zlib):
    """The codec of a chain in which it stands right behind the samples."""

    _exact = True


class Zstd(PromptCodec, ZstdCodec):
    """``zstd``, decoded where it is told how many bytes come; what holds other bytes is left to zarr."""

    def __reduce__(self) -> tuple[Any, ...]:
        # zarr compresses by it unless told otherwise: arrays are sent to processes that lack this package
        return ZstdCodec.from_dict, (self.to_dict(),)

    def _recipe(self, chunk_spec: ArraySpec) -> Recipe | None:
        return direct.recipe_of_stream(direct.ZSTD, _expected(chunk_spec))

    def _effort(self, chunk_spec: ArraySpec) -> tuple[int, int]:
        return _expected(chunk_spec), _SHORT_BYTES

    def _decode_sync(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        decoded = direct.decode(chunk_data.as_numpy_array(), self._recipe(chunk_spec))
        if decoded is None:
            return ZstdCodec._decode_sync(self, chunk_data, chunk_spec)  # noqa: SLF001
        return chunk_spec.prototype.buffer.from_array_like(decoded)


class ExactZstd(Zstd):
    """``zstd`` of a chain in which it stands right behind the samples.

    Raises
    ------
    DecodeError
        ``corrupt-segment`` when a chunk does not decode, or to another number of bytes.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return ExactZstd.from_dict, (self.to_dict(),)

    def _decode_sync(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        expected = _expected(chunk_spec)
        out = np.empty(expected, np.uint8)
        try:
            count = len(imagecodecs.zstd_decode(chunk_data.as_numpy_array(), out=out.data))
        except imagecodecs.ZstdError as error:
            msg = f"the chunk does not decode to {expected} bytes by ZSTD: {error}"
            raise DecodeError(msg, feature="corrupt-segment") from error
        _check(count, expected, "ZSTD")
        return chunk_spec.prototype.buffer.from_array_like(out)


def _expected(chunk_spec: ArraySpec) -> int:
    """Bytes of the samples of a chunk; types without a size have none that is known."""
    return math.prod(chunk_spec.shape) * int(getattr(chunk_spec.dtype, "item_size", 0))


def _inflate(encoded: Octets, expected: int) -> npt.NDArray[np.uint8]:
    """Decompress a whole zlib stream (RFC 1950), which probably holds the expected bytes."""
    out = np.empty(expected, np.uint8)
    try:
        return out[: len(imagecodecs.deflate_decode(encoded, out=out.data))]
    except imagecodecs.DeflateError:
        # it is damaged, or longer: zlib tells
        stream, most = zlib.decompressobj(), 4 * expected + _OVERLONG_BYTES
    try:
        decoded = stream.decompress(encoded, most)
    except zlib.error as error:
        raise DecodeError(f"the chunk is no valid zlib stream: {error}", feature="corrupt-segment") from error
    if not stream.eof:
        lost = "ends early" if len(decoded) < most else f"holds far more than {expected} bytes"
        raise DecodeError(f"the zlib stream of a chunk {lost}", feature="corrupt-segment")
    return np.frombuffer(decoded, np.uint8)


def _check(found: int, expected: int, codec: str) -> None:
    if found != expected:
        msg = f"a chunk decodes to {found} bytes by {codec}, not to {expected}"
        raise DecodeError(msg, feature="corrupt-segment")


def with_own_decoders(codecs: Sequence[Codec]) -> tuple[Codec, ...] | None:
    """Put our decoder in the place of zarr's own, or return None where there is nothing to replace.

    Parameters
    ----------
    codecs
        The chain of an array. Codecs that somebody has configured, or that do not stand right behind ``bytes``, are
        left as they are.
    """
    if len(codecs) < 2 or not isinstance(codecs[-2], BytesCodec):
        return None
    last: Any = codecs[-1]
    if type(last) in (zarr_numcodecs.Zlib, Zlib):
        return (*codecs[:-1], ExactZlib(**last.codec_config))
    if type(last) in (ZstdCodec, Zstd):
        return (*codecs[:-1], ExactZstd(level=last.level, checksum=last.checksum))
    return None


_OURS: Final[Mapping[str, tuple[type[Codec], str, type[Codec]]]] = {
    "numcodecs.zlib": (zarr_numcodecs.Zlib, "zarr.codecs.numcodecs.Zlib", Zlib),
    "zstd": (ZstdCodec, "zarr.codecs.zstd.ZstdCodec", Zstd),
}
"""Name -> zarr's decoder, what zarr's configuration calls it, and ours."""


def register(names: Iterable[str] = tuple(_OURS)) -> None:
    """Let zarr decode by our kernels, in all arrays that this process opens from now on.

    Parameters
    ----------
    names
        ``numcodecs.zlib``, ``zstd``, or both.
    """
    for name in names:
        ours = _OURS[name][-1]
        register_codec(name, ours)
        config.set({"codecs": {**config.get("codecs"), name: f"{ours.__module__}.{ours.__qualname__}"}})


@cache
def register_unless_configured(name: str) -> None:
    """Register once, where zarr's configuration is as it comes; what is configured afterwards holds."""
    if config.get("codecs").get(name) == _OURS[name][1]:
        register([name])


def name_of_slow(codecs: Sequence[Codec]) -> str | None:
    """Return the name of the codec, right behind the samples, that zarr decodes slower than it could."""
    last = codecs[-1] if len(codecs) > 1 else None
    return next((name for name, (theirs, *_) in _OURS.items() if isinstance(last, theirs)), None)
