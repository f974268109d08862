"""An axis as a cube stores it: found and extended without looking at each of its values."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from virtual_tiff.cube.axes import Axis, AxisKind
from virtual_tiff.cube.times import TIME_ATTRIBUTES
from virtual_tiff.errors import ConformError
from virtual_tiff.geo.coordinate import Coordinate

_KINDS: Final[Mapping[str, AxisKind]] = {"i": "integer", "f": "number", "T": "text", "U": "text", "O": "text"}


@dataclass(frozen=True, slots=True, eq=False)
class StandingAxis:
    """The values of an axis, encoded as :meth:`virtual_tiff.cube.axes.Axis.encode` does it.

    ``ordered`` axes ascend, and new values go to their places; else they go to the end.
    """

    name: str
    values: npt.NDArray[Any]
    kind: AxisKind
    ordered: bool

    @classmethod
    def read(cls, name: str, stored: npt.NDArray[Any], attributes: Mapping[str, Any], *, named: bool) -> Self:
        """Take an axis as it is stored; one with the names of files is never ordered.

        Raises
        ------
        ConformError
            ``conform`` when the array is no axis of this package.
        """
        if stored.ndim != 1 or stored.dtype.kind not in _KINDS:
            raise _foreign(name, stored)
        kind = _KINDS[stored.dtype.kind]
        if kind == "integer" and attributes.get("units") is not None:
            if attributes["units"] != TIME_ATTRIBUTES["units"]:
                raise _foreign(name, stored)
            kind = "time"
        if kind == "text":
            texts = stored.tolist()
            if len(set(texts)) < len(texts):
                raise ConformError(f"the axis {name!r} holds a value twice", feature="conform")
            in_order = not named and len(texts) > 0 and list(Axis.of(name, texts).values) == texts
            return cls(name, stored, kind, in_order)
        return cls(name, stored, kind, not named and bool(np.all(stored[1:] > stored[:-1])))

    def __len__(self) -> int:
        return len(self.values)

    def names(self) -> list[str]:
        """The values of an axis of names."""
        listed: list[str] = self.values.tolist()
        return listed

    def extend(self, labels: Iterable[Hashable]) -> tuple[Coordinate, Mapping[Hashable, int]]:
        """The axis with more values, and the position of each of them; those that are known change nothing.

        Raises
        ------
        ConformError
            ``conform`` when a value is of another kind than those of the axis.
        """
        unique = list(dict.fromkeys(labels))
        if not unique:
            return self._coordinate(self.values), {}
        new = self._encoded(unique)
        if self.kind == "text":
            return self._extend_text([str(value) for value in new.tolist()], unique)
        if not self.ordered:
            return self._extend_behind(new, unique)
        at = np.searchsorted(self.values, new)
        known = (at < len(self)) & (self.values[np.minimum(at, max(len(self) - 1, 0))] == new) if len(self) else at < 0
        fresh = np.unique(new[~known])
        values = np.insert(self.values, np.searchsorted(self.values, fresh), fresh) if fresh.size else self.values
        positions = np.searchsorted(values, new).tolist()
        return self._coordinate(values), dict(zip(unique, positions, strict=True))

    def late(self, labels: Iterable[Hashable]) -> int:
        """How many values are not there yet, and lie before the last one."""
        listed = list(labels)
        if not self.ordered or not len(self) or not listed:
            return 0
        grown, where = self.extend(listed)
        last = int(np.flatnonzero(grown.values == self.values[-1])[0])
        known = set(self.names()) if self.kind == "text" else None
        positions = [where[label] for label in listed]
        early = [position for position in positions if position < last]
        if known is not None:
            return sum(str(grown.values[position]) not in known for position in early)
        values = grown.values[early]
        at = np.searchsorted(self.values, values)
        return int(np.count_nonzero(self.values[at] != values))

    def _coordinate(self, values: npt.NDArray[Any]) -> Coordinate:
        attributes = dict(TIME_ATTRIBUTES) if self.kind == "time" else {}
        return Coordinate(self.name, (self.name,), values, attributes)

    def _encoded(self, labels: list[Hashable]) -> npt.NDArray[Any]:
        axis = Axis.of(self.name, labels, ordered=False)
        if self.kind == "number" and axis.kind == "integer":
            return axis.encode().astype(np.float64)
        if axis.kind != self.kind:
            found = f"the axis {self.name!r} holds {self.kind}, and the new files have {axis.kind}"
            raise ConformError(found, feature="conform")
        if len(axis) < len(labels):
            raise ConformError(f"the axis {self.name!r} has equal values of several kinds", feature="conform")
        return axis.encode()

    def _extend_text(self, new: list[str], labels: list[Hashable]) -> tuple[Coordinate, Mapping[Hashable, int]]:
        wanted = set(new)
        old = self.names()
        known = wanted.intersection(old)
        fresh = [value for value in new if value not in known]
        values = [*old, *fresh]
        if self.ordered and fresh:
            values = [str(value) for value in Axis.of(self.name, values).values]
        where = {value: position for position, value in enumerate(values) if value in wanted}
        if not fresh:
            encoded = self.values
        elif self.ordered:
            encoded = np.array(values, np.dtypes.StringDType())
        else:
            encoded = np.concatenate([self.values, np.array(fresh, self.values.dtype)])
        return self._coordinate(encoded), {label: where[value] for label, value in zip(labels, new, strict=True)}

    def _extend_behind(
        self, new: npt.NDArray[Any], labels: list[Hashable]
    ) -> tuple[Coordinate, Mapping[Hashable, int]]:
        where = {value: position for position, value in enumerate(self.values.tolist())}
        fresh = [value for value in new.tolist() if value not in where]
        where |= {value: len(self) + number for number, value in enumerate(fresh)}
        values = np.concatenate([self.values, np.array(fresh, self.values.dtype)])
        return self._coordinate(values), {
            label: where[value] for label, value in zip(labels, new.tolist(), strict=True)
        }


def _foreign(name: str, stored: npt.NDArray[Any]) -> ConformError:
    found = f"the axis {name!r} is stored in another way ({stored.dtype}, shape {stored.shape})"
    return ConformError(found, feature="conform", hint="Only cubes of this package can be extended.")
