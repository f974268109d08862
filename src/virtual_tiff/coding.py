"""Which tags decide how a compression decodes, beyond the samples: they become fields of the codec's configuration.

Only what the decoder of that compression reads is written, so that like files have equal configurations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from virtual_tiff.codecs.config import FLOATS, SegmentConfig
from virtual_tiff.codecs.logs import can_decode
from virtual_tiff.errors import UnsupportedError
from virtual_tiff.tiff.ifd import Ifd
from virtual_tiff.tiff.tags import Tags, TagType

COMPRESSION_NAMES: Final[Mapping[int, str]] = {
    1: "uncompressed",
    2: "CCITT RLE",
    3: "CCITT T.4",
    4: "CCITT T.6",
    5: "LZW",
    6: "old-style JPEG",
    7: "JPEG",
    8: "Deflate",
    22610: "JPEG XR (Hamamatsu)",
    32766: "NeXT",
    32773: "PackBits",
    32809: "ThunderScan",
    32909: "PixarLog",
    32946: "Deflate (old code)",
    33003: "JPEG 2000 YCbCr (Aperio)",
    33004: "JPEG 2000 (lossy)",
    33005: "JPEG 2000 RGB (Aperio)",
    33007: "JPEG (Aperio)",
    34676: "SGI LogLuv or LogL",
    34677: "SGI LogLuv, 24 bits",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG (DNG)",
    34925: "LZMA",
    34933: "PNG",
    34934: "JPEG XR",
    50000: "ZSTD",
    50001: "WebP",
    50002: "JPEG XL (old code)",
    52546: "JPEG XL (DNG)",
}
"""The compression schemes that are decoded, by the value of the Compression tag."""

_ALIASES: Final[Mapping[int, int]] = {34926: 50000, 34927: 50001, 50013: 8}
"""Numbers that schemes had before or beside their own: ZSTD, WebP and Deflate (PixTIFF)."""

OLD_JPEG: Final = 6
"""Compression of TIFF 6 section 22, whose tags have other defaults."""

YCBCR: Final = 6
"""PhotometricInterpretation of YCbCr."""

_RGB, _PALETTE, _CMYK, _CIELAB, _ICCLAB = 2, 3, 5, 8, 9
_CONVERTED: Final = frozenset({_PALETTE, _CMYK, YCBCR, _CIELAB, _ICCLAB})
_RGB_FROM_YCBCR: Final = frozenset({6, 7, 33007, 34892})
_NUMBERS: Final = frozenset(TagType) - {TagType.ASCII, TagType.UNDEFINED}
YCBCR_TAGS: Final[Mapping[str, int]] = {
    "ycbcr_coefficients": Tags.YCbCrCoefficients,
    "reference_black_white": Tags.ReferenceBlackWhite,
}
"""Fields of the conversion of YCbCr to RGB, and the tags that they come from."""

_COLOR_TAGS: Final[Mapping[int, Mapping[str, int]]] = {
    _PALETTE: {},
    _CMYK: {},
    YCBCR: YCBCR_TAGS,
    _CIELAB: {"white_point": Tags.WhitePoint},
    _ICCLAB: {"white_point": Tags.WhitePoint},
}

type Fields = dict[str, Any]
type Color = Literal["rgb"]


def coding_fields(ifd: Ifd, compression: int, photometric: int | None) -> Fields:
    """Return the fields of the codec's configuration that this compression and photometric interpretation need."""
    make = _MAKERS.get(compression)
    if make is not None:
        return make(ifd, photometric)
    if photometric == YCBCR and compression in _PACKED:
        return _subsampling(ifd)
    return {}


def color_fields(ifd: Ifd, compression: int, photometric: int | None, color: Color | None) -> Fields:
    """Return the fields that convert the stored colours to RGB; none when they are RGB already.

    Raises
    ------
    UnsupportedError
        ``color`` when the image has no colours.
    """
    if color is None or photometric == _RGB or (photometric == YCBCR and compression in _RGB_FROM_YCBCR):
        return {}
    if photometric not in _CONVERTED:
        found = f"photometric interpretation {photometric} has no conversion to RGB"
        raise UnsupportedError(found, feature="color", ifd=ifd.path, tag=Tags.PhotometricInterpretation)
    fields: Fields = {"color": color, "photometric": photometric}
    color_map = ifd.integers(Tags.ColorMap) if photometric == _PALETTE else None
    if color_map is not None:
        fields["color_map"] = color_map.astype("<u2").tobytes()
    return fields | float_fields(ifd, _COLOR_TAGS[photometric])


def float_fields(ifd: Ifd, tags: Mapping[str, int]) -> dict[str, tuple[float, ...]]:
    """Return fields from tags of fractions, which writers store as other numbers too.

    As in libtiff, a tag of another count counts for nothing.
    """
    found = {}
    for name, tag in tags.items():
        entry = ifd.tags.get(tag)
        if entry is not None and entry.type in _NUMBERS and entry.count == FLOATS[name]:
            numbers = entry.array().tolist()
            found[name] = tuple(_fraction(*number) if isinstance(number, list) else float(number) for number in numbers)
    return found


def _fraction(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else 0.0


def compression_of(ifd: Ifd) -> int:
    """Return the compression, by the number that is its own, or refuse it.

    Raises
    ------
    UnsupportedError
        ``compression``.
    """
    compression = ifd.integer(Tags.Compression, 1)
    compression = _ALIASES.get(compression, compression)
    if compression not in COMPRESSION_NAMES:
        found = f"compression {compression} is not decoded"
        hint = "Rewrite the file with Deflate, LZW or ZSTD."
        raise UnsupportedError(found, feature="compression", ifd=ifd.path, tag=Tags.Compression, hint=hint)
    return compression


def refuse_samples(ifd: Ifd, config: SegmentConfig) -> None:
    """Refuse by name samples that the decoder of their compression does not know.

    Raises
    ------
    UnsupportedError
        ``bit-depth``, ``fill-order``, ``photometric``, ``subsampling``, ``sample-format`` or ``compression``.
    """
    bits, samples, compression = config.bits_per_sample, config.samples, config.compression
    kind = f"{samples} samples of {', '.join(map(str, bits))} bits in {COMPRESSION_NAMES[compression]}"
    if compression in _BITS and (bits != (_BITS[compression],) or samples != 1):
        raise UnsupportedError(kind, feature="bit-depth", ifd=ifd.path, tag=Tags.BitsPerSample)
    if config.fill_order != 1 and compression in _AS_STORED:
        found = f"{COMPRESSION_NAMES[compression]} with FillOrder {config.fill_order}"
        raise UnsupportedError(found, feature="fill-order", ifd=ifd.path, tag=Tags.FillOrder)
    if compression in _JPEG and config.photometric == YCBCR and samples != _CHROMATIC and config.color is None:
        _refuse_ycbcr_jpeg(ifd, samples, kind)
    if compression == _LERC and not _LERC_BITS.issuperset(bits):
        raise UnsupportedError(kind, feature="bit-depth", ifd=ifd.path, tag=Tags.BitsPerSample)
    log = compression in _SGILOG and not can_decode(config.photometric, samples, bits, config.sample_format)
    pixar = compression == _PIXARLOG and (*bits, config.sample_format) not in _PIXARLOG_SAMPLES
    if log or pixar:
        found = f"{kind}, sample format {config.sample_format}, photometric interpretation {config.photometric}"
        raise UnsupportedError(found, feature="sample-format", ifd=ifd.path, tag=Tags.BitsPerSample)
    if config.lerc_parameters is not None and config.lerc_parameters[1:2] not in ((), (0,), (1,), (2,)):
        found = f"LERC inside compression {config.lerc_parameters[1]}"
        raise UnsupportedError(found, feature="compression", ifd=ifd.path, tag=Tags.LercParameters)


def _refuse_ycbcr_jpeg(ifd: Ifd, samples: int, kind: str) -> None:
    """Refuse YCbCr that is no three samples; planes of their own are decoded when chroma is as large as luma."""
    if samples > 1 or ifd.integer(Tags.SamplesPerPixel, 1) != _CHROMATIC:
        found = f"{kind}, photometric interpretation YCbCr"
        raise UnsupportedError(found, feature="photometric", ifd=ifd.path, tag=Tags.PhotometricInterpretation)
    if _subsampling(ifd):
        found = "separate planes of subsampled chroma"
        raise UnsupportedError(found, feature="subsampling", ifd=ifd.path, tag=Tags.YCbCrSubSampling)


def _jpeg(ifd: Ifd, photometric: int | None) -> Fields:
    fields: Fields = {} if photometric is None else {"photometric": photometric}
    tables = ifd.tags.get(Tags.JPEGTables)
    if tables is not None and tables.raw:
        fields["jpeg_tables"] = bytes(tables.raw)
    return fields


def _photometric(_ifd: Ifd, photometric: int | None) -> Fields:
    return {} if photometric is None else {"photometric": photometric}


def _lerc(ifd: Ifd, _photometric: int | None) -> Fields:
    values = ifd.integers(Tags.LercParameters)
    return {} if values is None else {"lerc_parameters": tuple(int(value) for value in values)}


def _t4(ifd: Ifd, _photometric: int | None) -> Fields:
    options = ifd.integer(Tags.T4Options, 0)
    return {"t4_options": options} if options else {}


def _t6(ifd: Ifd, _photometric: int | None) -> Fields:
    options = ifd.integer(Tags.T6Options, 0)
    return {"t6_options": options} if options else {}


def _subsampling(ifd: Ifd) -> Fields:
    """Subsampling of packed YCbCr; like libtiff, absent means 2 x 2."""
    values = ifd.integers(Tags.YCbCrSubSampling)
    across, down = (2, 2) if values is None or values.size < 2 else (int(values[0]), int(values[1]))
    if across not in (1, 2, 4) or down not in (1, 2, 4):
        found = f"chroma subsampling {across} x {down}"
        raise UnsupportedError(found, feature="subsampling", ifd=ifd.path, tag=Tags.YCbCrSubSampling)
    return {} if (across, down) == (1, 1) else {"subsampling": (across, down)}


_BITS: Final[Mapping[int, int]] = {2: 1, 3: 1, 4: 1, 32766: 2, 32809: 4}
_JPEG: Final = frozenset({7, 33007, 34892})
_CHROMATIC: Final = 3
_AS_STORED: Final = frozenset({32909, 34676, 34677, 34887, 50001})
"""Compressions whose bits the codec leaves in their order, while other readers reverse them where FillOrder is 2."""

_LERC: Final = 34887
_LERC_BITS: Final = frozenset({8, 16, 32, 64})
_SGILOG: Final = frozenset({34676, 34677})
_PIXARLOG: Final = 32909
_PIXARLOG_SAMPLES: Final = frozenset({(8, 1), (16, 1), (32, 3)})

_PACKED: Final = frozenset({1, 5, 8, 32773, 32946, 34925, 50000})

_MAKERS: Final[dict[int, Callable[[Ifd, int | None], Fields]]] = {
    3: _t4,
    4: _t6,
    OLD_JPEG: _photometric,
    7: _jpeg,
    33007: _jpeg,
    34676: _photometric,
    34677: _photometric,
    34887: _lerc,
    34892: _jpeg,
}
