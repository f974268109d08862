"""The axes of a cube: values in order, and how they are stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any, Final, Literal, cast

import numpy as np
import numpy.typing as npt

from virtual_tiff.cube.inputs import natural_key
from virtual_tiff.cube.times import TIME_ATTRIBUTES, as_utc, decode_time, encode_time
from virtual_tiff.errors import ConformError, UsageError
from virtual_tiff.geo.coordinate import Coordinate

type AxisValue = datetime | int | float | str
"""A coordinate on an axis; moments are in UTC."""
type AxisKind = Literal["time", "integer", "number", "text"]

_KINDS: Final[Mapping[type, AxisKind]] = {datetime: "time", int: "integer", float: "number", str: "text"}
_EXACT: Final = 2**53


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: each value once. ``ordered`` axes ascend (text by the numbers in it: b2 before b10).

    Make it with :meth:`of`.
    """

    name: str
    values: tuple[AxisValue, ...]
    kind: AxisKind
    ordered: bool = True

    @classmethod
    def of(cls, name: str, values: Iterable[object], *, ordered: bool = True) -> Axis:
        """Make an axis of all the values that files have, in any order and number.

        Parameters
        ----------
        name
            Of the dimension.
        values
            Of the files; at least one.
        ordered
            Sort them, else keep the order of their first occurrence.

        Raises
        ------
        ConformError
            ``conform`` when values of several kinds are mixed, or one is not a coordinate.
        UsageError
            ``usage`` when there is no value.
        """
        unique = list(dict.fromkeys(axis_value(value, name) for value in values))
        if not unique:
            raise UsageError(f"the axis {name!r} has no value", feature="usage")
        kind = _common_kind(name, unique)
        if kind == "number":
            unique = list(dict.fromkeys(map(float, cast("list[float]", unique))))
        return cls(name, tuple(sorted(unique, key=_sort_key) if ordered else unique), kind, ordered)

    @classmethod
    def decode(cls, name: str, stored: npt.NDArray[Any], attributes: Mapping[str, Any]) -> Axis:
        """Read an axis that :meth:`coordinate` has stored; it is ordered when its values ascend.

        Raises
        ------
        ConformError
            ``conform`` when the array is no axis of this package, or holds a value twice.
        """
        units = attributes.get("units")
        if stored.ndim != 1 or (stored.dtype.kind == "i" and units not in (None, TIME_ATTRIBUTES["units"])):
            found = f"the axis {name!r} is stored in another way (units {units!r}, shape {stored.shape})"
            raise ConformError(found, feature="conform", hint="Only cubes of this package can be extended.")
        if units == TIME_ATTRIBUTES["units"] and np.all(stored[1:] > stored[:-1]):
            return cls(name, tuple(decode_time(stored)), "time")
        values: list[Any] = decode_time(stored) if units == TIME_ATTRIBUTES["units"] else stored.tolist()
        axis = cls.of(name, values, ordered=False)
        if len(axis.values) != len(values):
            raise ConformError(f"the axis {name!r} holds a value twice", feature="conform")
        keys = [_sort_key(value) for value in axis.values]
        return cls(name, axis.values, axis.kind, all(left < right for left, right in pairwise(keys)))

    def __len__(self) -> int:
        return len(self.values)

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the stored axis."""
        return dict(TIME_ATTRIBUTES) if self.kind == "time" else {}

    def encode(self) -> npt.NDArray[Any]:
        """The values as they are stored: int64 (moments in microseconds since 1970-01-01), float64 or text."""
        if self.kind == "time":
            return encode_time(cast("tuple[datetime, ...]", self.values))
        if self.kind == "text":
            return np.array(self.values, np.dtypes.StringDType())
        return np.array(self.values, np.int64 if self.kind == "integer" else np.float64)

    def coordinate(self) -> Coordinate:
        """The axis as a variable of its own dimension."""
        return Coordinate(self.name, (self.name,), self.encode(), self.attributes)

    def indices_of(self, values: Iterable[object]) -> npt.NDArray[np.int64]:
        """The position of each value.

        Raises
        ------
        ConformError
            ``conform`` when one is not on the axis.
        """
        places = {value: index for index, value in enumerate(self.values)}
        found = []
        for value in values:
            index = places.get(axis_value(value, self.name))
            if index is None:
                raise ConformError(f"the axis {self.name!r} has no value {show_value(value)}", feature="conform")
            found.append(index)
        return np.array(found, np.int64)


def axis_value(value: object, name: str) -> AxisValue:
    """Bring a coordinate, as callables and catalogues give it, to one of the types of an axis.

    Raises
    ------
    ConformError
        ``conform`` when it is none: nothing, NaN, an integer beyond 64 bits, or another type.
    """
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
    elif isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, datetime) and value == value:  # noqa: PLR0124 (pandas' NaT differs from itself)
        return as_utc(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return int(value)
    if isinstance(value, float) and np.isfinite(value):
        return float(value) + 0.0  # no negative zero
    found = f"{value!r:.80} ({type(value).__name__}) is no coordinate for the axis {name!r}"
    raise ConformError(found, feature="conform", hint="Coordinates are datetimes, finite numbers or text.")


def show_value(value: object) -> str:
    """A coordinate as people read it."""
    return value.isoformat() if isinstance(value, datetime) else repr(value)


def _common_kind(name: str, values: Sequence[AxisValue]) -> AxisKind:
    kinds = {_KINDS[type(value)] for value in values}
    exact = all(abs(value) <= _EXACT for value in values if isinstance(value, int))
    if kinds == {"integer", "number"} and exact:
        return "number"
    if len(kinds) > 1:
        examples = [next(show_value(v) for v in values if _KINDS[type(v)] == kind) for kind in sorted(kinds)]
        found = f"the values of the axis {name!r} are of several kinds, such as {' and '.join(examples)}"
        raise ConformError(found, feature="conform")
    return kinds.pop()


def _sort_key(value: AxisValue) -> Any:
    return natural_key(value) if isinstance(value, str) else value
