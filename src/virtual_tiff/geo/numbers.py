"""Numbers as text, the way C libraries write and read them."""

from __future__ import annotations

import re
from typing import Final

_SPECIAL: Final = {
    "nan": "nan",
    "-nan": "nan",
    "inf": "inf",
    "+inf": "inf",
    "-inf": "-inf",
    "1.#inf": "inf",
    "-1.#inf": "-inf",
    "1.#qnan": "nan",
    "-1.#qnan": "nan",
    "1.#snan": "nan",
    "-1.#snan": "nan",
    "1.#ind": "nan",
    "-1.#ind": "nan",
}
_NUMBER: Final = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eEdD][+-]?\d+)?")
_INTEGER: Final = re.compile(r"[+-]?\d+")
_LONGEST: Final = 400


def parse_number(text: str) -> float | None:
    """Return the number at the start of a text, or None when there is none.

    Microsoft's forms of infinity and NaN are known; a decimal comma counts as a point, as in GDAL.
    """
    text = text.strip()[:_LONGEST]
    special = _SPECIAL.get(text.lower().rstrip("0123456789") if "#" in text else text.lower())
    if special is not None:
        return float(special)
    match = _NUMBER.match(text)
    if match is None:
        prefix = text.lower().lstrip("+-")
        for word in ("nan", "inf"):
            if prefix.startswith(word):
                return float(("-" if text.startswith("-") and word == "inf" else "") + word)
        return None
    return float(match[0].replace(",", ".").replace("d", "e").replace("D", "e"))


def parse_integer(text: str, *, signed: bool) -> int | None:
    """Return the integer at the start of a text exactly, clamped to 64 bits as in C."""
    match = _INTEGER.match(text.strip()[:_LONGEST])
    if match is None:
        return None
    number = int(match[0])
    if signed:
        return min(max(number, -(2**63)), 2**63 - 1)
    return min(number % 2**64 if number < 0 else number, 2**64 - 1)
