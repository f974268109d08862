from __future__ import annotations

import pytest

from virtual_tiff.tiff.failures import is_past_end, source_error


class HttpError(Exception):
    """As HTTP libraries raise it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"answered with {status}")
        self.status = status


@pytest.mark.parametrize(
    ("error", "feature"),
    [
        (HttpError(401), "forbidden"),
        (HttpError(403), "forbidden"),
        (HttpError(404), "not-found"),
        (HttpError(500), "unreachable"),
        (PermissionError(13, "Permission denied"), "forbidden"),
        (IsADirectoryError(21, "Is a directory"), "not-found"),
        (
            OSError("Generic LocalFileSystem error: Unable to open file: Permission denied (os error 13)"),
            "forbidden",
        ),
        (TimeoutError(), "unreachable"),
        (RuntimeError("first\n\nDebug source:\nGeneric {"), "unreachable"),
    ],
)
def test_exceptions_of_stores(error: Exception, feature: str) -> None:
    translated = source_error(error, "x://a")
    assert (translated.feature, translated.url) == (feature, "x://a")
    assert "Debug" not in str(translated)


@pytest.mark.parametrize(
    ("error", "past"),
    [
        (HttpError(416), True),
        (ValueError("Wanted range starting at 100, but object was only 100 bytes long"), True),
        (RuntimeError("Server returned non-2xx status code: 416 Range Not Satisfiable: "), True),
        (RuntimeError("Generic LocalFileSystem error: Requested range was invalid"), True),
        (RuntimeError("Error performing GET http://host/416/range.tif: connection refused"), False),
        (HttpError(404), False),
    ],
)
def test_ranges_behind_the_end(error: Exception, past: bool) -> None:
    assert is_past_end(error) == past
