"""The exceptions of virtual-tiff: one small tree.

Each error says what was found, where (URL, IFD, tag), why it is refused and what the user can do. The
``feature`` of an error is a stable code out of :data:`FEATURES`; codes are only ever added.

::

    VirtualTiffError
    ├── FormatError       (ValueError)           the bytes are not a TIFF, or are damaged
    ├── LimitError        (ValueError)           a limit against hostile files was reached
    ├── UnsupportedError  (NotImplementedError)  a valid TIFF feature that is refused, by name
    ├── DecodeError       (ValueError)           a segment does not decode, at read time
    ├── SourceError       (OSError)              a source cannot be read
    ├── TargetError       (OSError)              a target cannot be written or opened
    ├── ConformError      (ValueError)           files that cannot be one array
    └── UsageError        (ValueError)           an argument that makes no sense
"""

from __future__ import annotations

from typing import Any, Final, Self

FEATURES: Final[dict[str, str]] = {
    # FormatError
    "not-a-tiff": "The file does not start with a TIFF or BigTIFF header.",
    "truncated": "The file ends before a structure that it announces.",
    "no-ifd": "The file has no image file directory (IFD).",
    "ifd-cycle": "The chain of IFDs or SubIFDs comes back to itself.",
    "bad-tag": "A tag has a type, count or value that TIFF does not allow.",
    "wrapped-offsets": "A classic TIFF of 4 GiB or more whose 32-bit offsets cannot be completed.",
    "missing-tag": "A tag that is needed to find or decode the pixels is absent.",
    "bad-geometry": "Width, height, tile size or segment counts contradict one another.",
    "bad-time": "A text states no date or time that can be read.",
    "bad-catalog": "A list of files (STAC, VRT, GTI) is damaged, or none at all.",
    # LimitError
    "limit-ifds": "More IFDs than the limit.",
    "limit-tag-bytes": "A tag larger than the limit.",
    "limit-metadata-bytes": "More bytes of metadata than the limit.",
    "limit-requests": "More requests for one header than the limit.",
    "limit-segments": "More segments than a manifest can hold.",
    "limit-segment-bytes": "A segment that decodes to more bytes than the limit.",
    "limit-catalog": "A list of files (STAC, VRT, GTI) larger than the limit.",
    # UnsupportedError
    "compression": "A compression scheme that is not decoded.",
    "predictor": "A predictor that is not decoded, or not with these samples.",
    "sample-format": "A combination of sample format and bits per sample without a Zarr data type.",
    "mixed-samples": "Bands of one IFD whose sample formats have no common data type.",
    "bit-depth": "A number of bits per sample that is not decoded.",
    "fill-order": "A fill order that is not decoded with this compression.",
    "photometric": "A photometric interpretation that is not decoded with this compression.",
    "subsampling": "A chroma subsampling that is not decoded.",
    "planar": "A planar configuration that is not decoded with these samples.",
    "old-jpeg": "Old-style JPEG (compression 6) whose stream cannot be assembled.",
    "jpeg": "A JPEG process or colour space that is not decoded.",
    "byte-counts": "The byte counts of compressed segments are missing and cannot be inferred.",
    "short-strip": "A short last strip, and short_strips='error' was asked for.",
    "volumetric": "A volume (ImageDepth) that lacks planes, or whose tiles of several planes are not decoded.",
    "color": "A colour conversion that is not available for this image.",
    "read-only": "The codec decodes; it does not encode.",
    "catalog": "A VRT or GTI that computes pixels, or is stored in a form that is not read.",
    # DecodeError
    "corrupt-segment": "The bytes of a segment do not decode.",
    "short-segment": "A segment decodes to fewer bytes than its geometry needs.",
    "codec-config": "The configuration of the codec is unknown or contradicts itself.",
    # SourceError
    "not-found": "The source does not exist.",
    "forbidden": "The source may not be read with these credentials.",
    "unreachable": "The source cannot be reached.",
    "no-range": "The server does not answer range requests.",
    "no-store": "No store is registered for the URL.",
    "source-changed": "The source has changed while it was read, or since it was scanned.",
    "no-match": "No file matches the path or pattern.",
    "forked": "The process was forked after storage threads had started.",
    "worker": "A worker of an executor died or failed, or there is none.",
    # TargetError
    "target-exists": "The target exists already.",
    "target-missing": "The target does not exist.",
    "target-denied": "The target cannot be written.",
    "target-not-a-cube": "The target is no Icechunk repository of virtual-tiff.",
    "container": "A virtual chunk container is missing or may not be read.",
    # ConformError
    "conform": "Files that cannot be one array.",
    "overlap": "Two files claim the same place of an array.",
    "misaligned": "A file does not lie on the chunks of the grid.",
    # UsageError
    "usage": "An argument that makes no sense.",
    "no-such-ifd": "The file has no IFD with that index or path.",
}
"""Every feature code, with one line of explanation. Append-only."""

TIFF_NAMES: dict[int, str] = {}
"""Tag names for messages, filled by :mod:`virtual_tiff.tiff.tags` when that room is open."""


class VirtualTiffError(Exception):
    """Base of all errors that virtual-tiff raises on purpose.

    Parameters
    ----------
    found
        What was found, as a phrase that starts with a lower-case word.
    feature
        A code out of :data:`FEATURES`.
    url, ifd, tag
        Where: the file, the path of the IFD (``(3, 0)`` is the first SubIFD of IFD 3), the tag's number.
    hint
        What the user can do.
    """

    def __init__(
        self,
        found: str,
        *,
        feature: str,
        url: str | None = None,
        ifd: tuple[int, ...] | None = None,
        tag: int | None = None,
        hint: str | None = None,
    ) -> None:
        if feature not in FEATURES:
            msg = f"unknown feature code {feature!r}"
            raise AssertionError(msg)
        super().__init__(found)
        self.found = found
        self.feature = feature
        self.url = url
        self.ifd = ifd
        self.tag = tag
        self.hint = hint

    def at(self, *, url: str | None = None, ifd: tuple[int, ...] | None = None, tag: int | None = None) -> Self:
        """Fill in the places that the raiser did not know, and return the error."""
        self.url = self.url if self.url is not None else url
        self.ifd = self.ifd if self.ifd is not None else ifd
        self.tag = self.tag if self.tag is not None else tag
        return self

    @property
    def where(self) -> str:
        """URL, IFD path and tag, as far as they are known."""
        parts = [self.url] if self.url is not None else []
        if self.ifd is not None:
            parts.append("IFD " + ".".join(map(str, self.ifd)))
        if self.tag is not None:
            name = TIFF_NAMES.get(self.tag)
            parts.append(f"tag {self.tag}" if name is None else f"tag {name} ({self.tag})")
        return ", ".join(parts)

    def __str__(self) -> str:
        text = f"{self.where}: {self.found}" if self.where else self.found
        text = f"{text} [{self.feature}]"
        return f"{text}. {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple[Any, ...]:
        places = {"url": self.url, "ifd": self.ifd, "tag": self.tag, "hint": self.hint}
        return _rebuild, (type(self), self.found, {"feature": self.feature, **places})


def _rebuild(kind: type[VirtualTiffError], found: str, places: dict[str, Any]) -> VirtualTiffError:
    return kind(found, **places)


class FormatError(VirtualTiffError, ValueError):
    """The bytes are not a TIFF, or are damaged."""


class LimitError(VirtualTiffError, ValueError):
    """A limit against hostile files was reached; the limits can be raised."""


class UnsupportedError(VirtualTiffError, NotImplementedError):
    """A feature of TIFF that is refused by name, before any pixel is read."""


class DecodeError(VirtualTiffError, ValueError):
    """A segment does not decode; raised at read time by the codecs."""


class SourceError(VirtualTiffError, OSError):
    """A source cannot be read."""


class TargetError(VirtualTiffError, OSError):
    """A target cannot be written or opened."""


class ConformError(VirtualTiffError, ValueError):
    """Files that cannot be one array."""


class UsageError(VirtualTiffError, ValueError):
    """An argument that makes no sense."""
