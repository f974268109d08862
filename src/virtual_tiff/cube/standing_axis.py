"""An axis as a cube stores it: found and extended without looking at each of its values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import zarr

from virtual_tiff.cube.axes import Axis, AxisKind
from virtual_tiff.cube.blueprint import AxisPlan
from virtual_tiff.cube.times import TIME_ATTRIBUTES
from virtual_tiff.errors import ConformError

type Having = Callable[[Collection[str]], set[str] | None]
"""Tells which of some names an axis has, or None when it cannot tell."""

type _Positions = Mapping[Hashable, int]

_KINDS: Final[Mapping[str, AxisKind]] = {"i": "integer", "f": "number", "T": "text", "U": "text", "O": "text"}


@dataclass(frozen=True, slots=True, eq=False)
class StandingAxis:
    """The values of an axis, encoded as :meth:`virtual_tiff.cube.axes.Axis.encode` does it.

    They are read when they are needed: numbers and moments that lie in the last chunk or behind it need no other
    chunk, and new names of files none. New values go to their places on an axis that ascends, else to the end. One
    with the names of files (``named``) never counts as ascending.
    """

    name: str
    kind: AxisKind
    named: bool
    stored: zarr.Array[Any] | npt.NDArray[Any] = field(repr=False)
    asked: Having | None = None
    _parts: dict[tuple[int, int], npt.NDArray[Any]] = field(default_factory=dict, repr=False)

    @classmethod
    def read(
        cls,
        name: str,
        stored: zarr.Array[Any] | npt.NDArray[Any],
        attributes: Mapping[str, Any],
        *,
        named: bool,
        having: Having | None = None,
    ) -> Self:
        """Take an axis as it is stored.

        Parameters
        ----------
        name, stored, attributes
            The array.
        named
            Whether it has the names of files.
        having
            Tells which names it has without reading them.

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
        return cls(name, kind, named, stored, having)

    def __len__(self) -> int:
        return int(self.stored.shape[0])

    @property
    def values(self) -> npt.NDArray[Any]:
        """All values.

        Raises
        ------
        ConformError
            ``conform`` for a name that is there twice.
        """
        return self._part(0, len(self))

    @property
    def tail(self) -> tuple[int, npt.NDArray[Any]]:
        """The values of the last chunk, and the position of the first of them."""
        rows = self.stored.chunks[0] if isinstance(self.stored, zarr.Array) else len(self)
        start = (len(self) - 1) // rows * rows if len(self) else 0
        return start, self._part(start, len(self))

    def _part(self, start: int, end: int) -> npt.NDArray[Any]:
        if (start, end) not in self._parts:
            found = np.asarray(self.stored[start:end])
            if self.kind == "text" and end - start == len(self) and len(set(found.tolist())) < len(self):
                raise ConformError(f"the axis {self.name!r} holds a value twice", feature="conform")
            self._parts[start, end] = found
        return self._parts[start, end]

    def names(self) -> list[str]:
        """The values of an axis of names."""
        listed: list[str] = self.values.tolist()
        return listed

    def first_name(self) -> str:
        """The first value of an axis of names; nothing when it has none."""
        return str(self._part(0, 1)[0]) if len(self) else ""

    def having(self, names: Collection[str]) -> set[str]:
        """Those of some names that the axis has."""
        found = self.asked(names) if self.asked is not None else None
        return set(names).intersection(self.names()) if found is None else found

    def extend(self, labels: Iterable[Hashable]) -> tuple[AxisPlan, _Positions]:
        """The axis with more values, and the position of each of them; those that are known change nothing.

        Raises
        ------
        ConformError
            ``conform`` when a value is of another kind than those of the axis.
        """
        unique = list(dict.fromkeys(labels))
        if not unique:
            return self._plan(len(self), self._part(0, 0)), {}
        new = self._encoded(unique)
        if self.kind == "text":
            plan, where = self._extend_text([str(value) for value in new.tolist()])
        else:
            near = self._around(new)
            plan, where = self._extend_behind(new) if near is None else self._insert(new, *near)
        return plan, dict(zip(unique, where, strict=True))

    def late(self, labels: Iterable[Hashable]) -> int:
        """How many labels are not there yet, and lie before the last one."""
        counts = Counter(labels)
        if not len(self) or not counts:
            return 0
        new = self._encoded(list(counts))
        if self.kind == "text":
            late = self._late_texts([str(value) for value in new.tolist()])
        else:
            near = self._around(new)
            if near is None:
                return 0
            late = ((new < near[1][-1]) & ~np.isin(new, near[1])).tolist()
        return sum(count for count, is_late in zip(counts.values(), late, strict=True) if is_late)

    def _plan(self, first: int, values: npt.NDArray[Any], moved: Sequence[int] | None = None) -> AxisPlan:
        attributes = dict(TIME_ATTRIBUTES) if self.kind == "time" else {}
        return AxisPlan(name=self.name, values=values, attributes=attributes, first=first, moved=moved)

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

    # Numbers and moments

    def _around(self, new: npt.NDArray[Any]) -> tuple[int, npt.NDArray[Any]] | None:
        """The values from a position on among which new ones belong; None when the axis does not ascend.

        The last chunk is enough for those that do not lie before it: their positions follow from it alone.
        """
        if self.named:
            return None
        start, tail = self.tail
        if start and _ascend(tail) and new.min() >= tail[0]:
            return start, tail
        return (0, self.values) if _ascend(self.values) else None

    def _insert(self, new: npt.NDArray[Any], start: int, near: npt.NDArray[Any]) -> tuple[AxisPlan, list[int]]:
        fresh = np.setdiff1d(new, near)
        if not fresh.size:
            return self._plan(len(self), near[:0]), (start + np.searchsorted(near, new)).tolist()
        grown = np.insert(near, np.searchsorted(near, fresh), fresh)
        first = int(np.searchsorted(near, fresh[0]))
        moved = None
        if first < len(near):
            moved = [*range(start), *(start + np.searchsorted(grown, near)).tolist()]
        return self._plan(start + first, grown[first:], moved), (start + np.searchsorted(grown, new)).tolist()

    def _extend_behind(self, new: npt.NDArray[Any]) -> tuple[AxisPlan, list[int]]:
        where = {value: position for position, value in enumerate(self.values.tolist())}
        fresh = [value for value in new.tolist() if value not in where]
        where |= {value: len(self) + number for number, value in enumerate(fresh)}
        return self._plan(len(self), np.array(fresh, self.values.dtype)), [where[value] for value in new.tolist()]

    # Texts

    def _extend_text(self, new: list[str]) -> tuple[AxisPlan, list[int]]:
        if self.named and not self.having(new):
            return self._plan(len(self), _texts(new)), list(range(len(self), len(self) + len(new)))
        known = {value: position for position, value in enumerate(self.names())}
        fresh = [value for value in new if value not in known]
        if not fresh or not self._is_ordered():
            where = known | {value: len(self) + number for number, value in enumerate(fresh)}
            return self._plan(len(self), _texts(fresh)), [where[value] for value in new]
        values = [str(value) for value in Axis.of(self.name, [*known, *fresh]).values]
        where = {value: position for position, value in enumerate(values)}
        first = min(where[value] for value in fresh)
        moved = [where[value] for value in known] if first < len(self) else None
        return self._plan(first, _texts(values[first:]), moved), [where[value] for value in new]

    def _is_ordered(self) -> bool:
        """Whether texts ascend."""
        return not self.named and len(self) > 0 and list(Axis.of(self.name, self.names()).values) == self.names()

    def _late_texts(self, new: list[str]) -> list[bool]:
        if self.named:
            return [False] * len(new)
        known = set(self.names())
        if known.issuperset(new) or not self._is_ordered():
            return [False] * len(new)
        last = self.names()[-1]
        behind = [str(value) for value in Axis.of(self.name, [last, *new]).values]
        place = {value: position for position, value in enumerate(behind)}
        return [value not in known and place[value] < place[last] for value in new]


def _ascend(values: npt.NDArray[Any]) -> bool:
    return bool(np.all(values[1:] > values[:-1]))


def _texts(values: Sequence[str]) -> npt.NDArray[Any]:
    return np.array(values, np.dtypes.StringDType())


def _foreign(name: str, stored: zarr.Array[Any] | npt.NDArray[Any]) -> ConformError:
    found = f"the axis {name!r} is stored in another way ({stored.dtype}, shape {stored.shape})"
    return ConformError(found, feature="conform", hint="Only cubes of this package can be extended.")
