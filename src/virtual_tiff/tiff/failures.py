"""What the exceptions of object stores mean, in one line and without the stores' debug output."""

from __future__ import annotations

import re
from typing import Final

from virtual_tiff.errors import SourceError

_PAST_END: Final = re.compile(
    r"416 (Requested )?Range Not Satisfiable|StartTooLarge|InvalidRange|Requested range was invalid"
    r"|Wanted range starting at|range .*(beyond|past) (the )?end",
    re.IGNORECASE,
)
_FORBIDDEN_NAMES: Final = frozenset({"PermissionDeniedError", "UnauthenticatedError", "NoCredentialsError"})
_FORBIDDEN: Final = re.compile(r"status code: 40[13]\b|permission denied|access denied|forbidden", re.IGNORECASE)
_MISSING: Final = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
_HINTS: Final = {
    "not-found": "Check the path; some object stores also say this when the key may not be listed.",
    "forbidden": "Check the credentials, or sign no requests where the data are public.",
    "unreachable": "Check the address, the network and the state of the server.",
    "no-range": "Copy the file to a server or store that answers range requests.",
}


def is_past_end(error: Exception) -> bool:
    """Whether a store refuses a range because it begins behind the end of the object."""
    return _status(error) == 416 or _PAST_END.search(str(error)) is not None


def source_error(error: Exception, url: str) -> SourceError:
    """Translate the exception of a store."""
    feature = _feature(error)
    line = next(iter(str(error).strip().splitlines()), "").strip().rstrip(":") or type(error).__name__
    found = {
        "not-found": "the source does not exist",
        "forbidden": "the source may not be read",
        "unreachable": "the source cannot be reached",
        "no-range": "the server does not answer range requests",
    }[feature]
    return SourceError(f"{found} ({line})", feature=feature, url=url, hint=_HINTS[feature])


def no_range(url: str, asked: int, answered: int) -> SourceError:
    """Make the error for a store that sends more than the range that was asked for."""
    found = f"the server answers a request for {asked} bytes with {answered} bytes"
    return SourceError(found, feature="no-range", url=url, hint=_HINTS["no-range"])


def source_changed(url: str, found: str) -> SourceError:
    """Make the error for a source that is not the same any more."""
    hint = "Read it again; if it changes often, copy it first."
    return SourceError(found, feature="source-changed", url=url, hint=hint)


def _feature(error: Exception) -> str:
    name, text, status = type(error).__name__, str(error), _status(error)
    first_line = text.partition("\n")[0]
    if isinstance(error, _MISSING) or name == "NotFoundError":
        return "not-found"
    if status == 404 or name == "InvalidPathError" or first_line.startswith("Could not parse path"):
        return "not-found"
    if isinstance(error, PermissionError) or name in _FORBIDDEN_NAMES or status in (401, 403):
        return "forbidden"
    if _FORBIDDEN.search(first_line):
        return "forbidden"
    if name == "NotSupportedError" and "range" in first_line.lower():
        return "no-range"
    return "unreachable"


def _status(error: Exception) -> int | None:
    """Return the HTTP status that client libraries put on their exceptions."""
    status = getattr(error, "status", None)
    return status if isinstance(status, int) else None
