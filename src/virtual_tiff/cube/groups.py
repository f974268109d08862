"""Plan an archive: which files become one array, which become groups beside each other, and why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, get_args

from virtual_tiff.codecs.config import CODEC_NAME
from virtual_tiff.coding import COMPRESSION_NAMES
from virtual_tiff.cube.apart import WHERE, free_traits, leading_axes
from virtual_tiff.cube.blueprint import CubePlan, TreePlan
from virtual_tiff.cube.conform import check_conform
from virtual_tiff.cube.duplicates import drop_duplicates
from virtual_tiff.cube.edges import split_by_edges
from virtual_tiff.cube.header import FileHeader
from virtual_tiff.cube.levels import tree
from virtual_tiff.cube.mosaic import Tile, lay_out, pixel_size, same_grid, same_resolution, split_tiles
from virtual_tiff.cube.plan import asked_json, stack_options
from virtual_tiff.cube.select import touches
from virtual_tiff.cube.views import StackOptions, chosen_files, footprint, is_masked, variables_of
from virtual_tiff.errors import ConformError, UsageError

type GroupBy = Literal["auto", "always"]
type OnConflict = Literal["split", "raise"]

_MAX_COMPARED: Final = 100
"""Groups with which one is compared to find the most similar one."""
_UTM: Final = re.compile(r"UTM zone (\d+)([NS])")
_UNITS: Final = {"metre": "m", "meter": "m", "degree": "deg", "foot": "ft", "US survey foot": "ft"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Files of one group: those of one ground (CRS and resolution), one era (codecs, nodata, ...) and one set."""

    base: str
    era: int
    number: int
    headers: tuple[FileHeader, ...]


def plan(
    headers: Sequence[FileHeader],
    *,
    group_by: GroupBy | None = "auto",
    on_conflict: OnConflict = "split",
    taken: Mapping[str, bool] | None = None,
    **options: Any,
) -> CubePlan:
    """Plan the cube of an archive, whose files may belong to several groups.

    Files of one CRS and one resolution are one group, as tiles of one pixel grid or as a stack. When there is more than
    one, the groups are named after both, such as ``utm32n_10m``. Files whose values mean different things (nodata,
    scale, data type, codecs, ...) are never put into one array: they become ``..._era1``, ``..._era2`` in the
    order of their first files. Files that overlap or do not lie on the chunks of the others become ``..._part1``, ...

    Parameters
    ----------
    headers
        The files.
    group_by
        "auto" makes groups where there are several CRSs or resolutions; "always" makes them also for a single one, so
        that files of others can be appended; None makes one, and refuses files that do not fit into it.
    on_conflict
        What to do with eras and parts: "split" them into groups, or "raise".
    taken
        Names of groups that are there already, and whether they are mosaics; then no group is the root.
    **options
        Those of :func:`virtual_tiff.cube.plan.plan_stack`; ``mosaic`` is found out.

    Raises
    ------
    ConformError
        ``conform``, ``misaligned`` or ``overlap`` when files cannot be one array, as with ``plan_stack``.
    UsageError
        ``usage`` for choices that make no sense; bounds belong to one CRS.
    """
    check_grouping(group_by, on_conflict)
    chosen, there = stack_options(headers, **options), taken or {}
    files, _, dropped = drop_duplicates(chosen_files(headers, chosen), chosen)
    grounds = _grounds(files) if group_by is not None or there else {"": files}
    _check_area(grounds, chosen)
    split = group_by is not None and on_conflict == "split"
    every = [part for base, members in grounds.items() for part in _parts(base, members, chosen, split=split)]
    parts = [part for part in every if _touches(part, chosen)] or every
    names = _names(parts, tuple(there), rooted=group_by != "always")
    fitting = _fitting(parts, chosen, mosaics=any(there.values()))
    try:
        trees = [_tree(part, own, name, chosen) for part, own, name in zip(parts, fitting, names, strict=True)]
    except ConformError as error:
        if split:
            raise
        raise _way_out(error, group_by) from error.__cause__
    used = {header.url for one in trees for header in one.headers}
    return CubePlan(
        trees=tuple(trees),
        headers=tuple(header for header in files if header.url in used),
        unused=tuple(header for header in headers if header.url not in used),
        asked={"group_by": group_by, "on_conflict": on_conflict} | asked_json(chosen),
        warnings=_told(names, trees, lambda one: one.warnings),
        notes=(*dropped, *_outside(every, parts), *_reasons(parts, names), *_told(names, trees, lambda one: one.notes)),
    )


def check_grouping(group_by: object, on_conflict: object) -> None:
    """Refuse choices that do not exist.

    Raises
    ------
    UsageError
        ``usage``.
    """
    known = (None, *get_args(GroupBy.__value__))
    if group_by not in known or on_conflict not in get_args(OnConflict.__value__):
        found = f"group_by={group_by!r}, on_conflict={on_conflict!r}"
        raise UsageError(found, feature="usage", hint="Choose 'auto', 'always' or None, and 'split' or 'raise'.")


def _tree(part: _Part, options: StackOptions, name: str, asked: StackOptions) -> TreePlan:
    """Plan one group; when its files are no tiles of a grid, say how they differ, too."""
    try:
        return tree(part.headers, options, name)
    except ConformError as error:
        if not options.mosaic or asked.mosaic:
            raise
        try:
            check_conform(part.headers, ignore=free_traits(asked))
        except ConformError as differences:
            told = f"{len(part.headers)} files cannot be one array: "
            if differences.found in error.found or error.found.startswith(told):  # the same once more
                raise error from None
            found = f"{differences.found}; as tiles of one grid: {error.found}"
            raise ConformError(found, feature=error.feature, url=error.url, hint=error.hint) from error
        raise


def _way_out(error: ConformError, group_by: GroupBy | None) -> ConformError:
    """The same refusal, which tells that groups are another way."""
    way = "on_conflict='split' (--on-conflict split) publishes them as groups beside each other."
    way = f"group_by='auto' and {way}" if group_by is None else way
    hint = f"{error.hint} Or: {way}" if error.hint else way[0].upper() + way[1:]
    return ConformError(error.found, feature=error.feature, url=error.url, ifd=error.ifd, tag=error.tag, hint=hint)


def _touches(part: _Part, options: StackOptions) -> bool:
    """Whether any file of a group lies in the area that is asked for."""
    return any(touches(footprint(header), bounds=options.bounds) for header in part.headers)


def _outside(found: Sequence[_Part], kept: Sequence[_Part]) -> tuple[str, ...]:
    """What there is to tell of groups that lie outside the area."""
    left_out = len(found) - len(kept)
    count = sum(len(part.headers) for part in found) - sum(len(part.headers) for part in kept)
    return (f"{left_out} of {len(found)} groups, with {count} files, lie outside the area",) if left_out else ()


def _told(
    names: Sequence[str], trees: Sequence[TreePlan], texts: Callable[[TreePlan], Sequence[str]]
) -> tuple[str, ...]:
    """What there is to tell of each group, with its name."""
    return tuple(
        f"{name}: {text}" if name else text for name, one in zip(names, trees, strict=True) for text in texts(one)
    )


def _grounds(headers: Sequence[FileHeader]) -> dict[str, list[FileHeader]]:
    """The files by CRS and resolution, each with a name of its own."""
    grounds: list[tuple[str, list[FileHeader]]] = []
    for header in headers:
        crs = header.traits["CRS"]
        for known, members in grounds:
            if known == crs and same_resolution(members[0].geo.transform, footprint(header)):
                members.append(header)
                break
        else:
            grounds.append((crs, [header]))
    names = [ground_name(members[0]) for _, members in grounds]
    counts = Counter(names)
    seen: Counter[str] = Counter()
    named = {}
    for name, (_, members) in zip(names, grounds, strict=True):
        seen[name] += 1
        named[f"{name}_{seen[name]}" if counts[name] > 1 else name] = members
    return named


def ground_name(header: FileHeader) -> str:
    """A name for CRS and resolution: ``utm32n_10m``, ``epsg4326_0p25deg``; ``pixels`` without a transform."""
    crs, transform = header.geo.crs, header.geo.transform
    if transform is None:
        return "pixels"
    where = "plane"
    unit = ""
    if crs is not None:
        utm = _UTM.search(crs.name)
        code = header.traits["CRS"]
        where = code.replace(":", "").lower() if re.fullmatch(r"\w+:\w+", code) else "crs"
        where = f"utm{int(utm[1]):02d}{utm[2].lower()}" if utm and crs.is_projected else where
        unit = _UNITS.get(crs.axis_info[0].unit_name, "") if crs.axis_info else ""
    size = f"{abs(transform.a or transform.b):.6g}"
    return f"{where}_{size.replace('.', 'p').replace('-', 'm').replace('+', '')}{unit}"


def _check_area(grounds: Mapping[str, Sequence[FileHeader]], options: StackOptions) -> None:
    if options.window is not None and len(grounds) > 1:
        found = f"a window in pixels, but there are {len(grounds)} grids: {', '.join(grounds)}"
        raise UsageError(found, feature="usage", hint="Give bounds, or the files of one grid.")
    if options.bounds is not None and len({members[0].traits["CRS"] for members in grounds.values()}) > 1:
        found = f"bounds belong to one CRS, but there are several: {', '.join(grounds)}"
        raise UsageError(found, feature="usage", hint="Give the files of one CRS.")


def _parts(base: str, headers: Sequence[FileHeader], options: StackOptions, *, split: bool) -> list[_Part]:
    """The eras of one ground, and the sets of tiles of each."""
    if not split:
        return [_Part(base=base, era=1, number=1, headers=tuple(headers))]
    parts = []
    for era, members in enumerate(_eras(headers, options), 1):
        for number, tiles in enumerate(_sets(members, options), 1):
            parts.append(_Part(base=base, era=era, number=number, headers=tuple(tiles)))
    return parts


def _eras(headers: Sequence[FileHeader], options: StackOptions) -> list[list[FileHeader]]:
    """The files whose values mean the same, in the order of their first file; variables count their own eras."""
    free = free_traits(replace(options, mosaic=True))
    number: dict[str, int] = {}
    for members in variables_of(headers, options).values():
        known: dict[Hashable, int] = {}
        for header in members:
            meaning = tuple(sorted((key, text) for key, text in header.traits.items() if key not in free))
            number[header.url] = known.setdefault((meaning, is_masked(header)), len(known))
    return [[header for header in headers if number[header.url] == era] for era in sorted(set(number.values()))]


def _sets(headers: Sequence[FileHeader], options: StackOptions) -> list[list[FileHeader]]:
    """The files that can be one array, as far as their places decide that."""
    if _is_pile(headers, options):
        return [list(headers)]
    order = {header.url: position for position, header in enumerate(headers)}
    split = split_by_edges if options.chunk_grid == "rectilinear" else split_tiles
    found: list[list[FileHeader]] = []
    for phase in _phases(headers):
        axes = leading_axes(phase, replace(options, mosaic=True))
        _, places = lay_out(phase, [footprint(header) for header in phase])
        where = dict(zip([header.url for header in phase], zip(places, axes.cells, strict=True), strict=True))
        by_set: dict[int, list[FileHeader]] = {}
        for members in variables_of(phase, options).values():
            tiles = [
                Tile(header=header, part=header.array, row=place[0], col=place[1], cell=cell)
                for header in members
                for place, cell in [where[header.url]]
            ]
            for number, tiled in enumerate(split(tiles)):
                by_set.setdefault(number, []).extend(tile.header for tile in tiled)
        found += [sorted(members, key=lambda header: order[header.url]) for members in by_set.values()]
    return found


def _phases(headers: Sequence[FileHeader]) -> list[list[FileHeader]]:
    """The files by pixel grid; those without a transform by their size."""
    phases: list[list[FileHeader]] = []
    for header in headers:
        ground = footprint(header)
        for members in phases:
            first = footprint(members[0])
            if first.transform is None and (first.height, first.width) != (ground.height, ground.width):
                continue
            if same_grid(first.transform, ground) is not None:
                members.append(header)
                break
        else:
            phases.append([header])
    return phases


def _is_pile(headers: Sequence[FileHeader], options: StackOptions) -> bool:
    """Whether the files have one place and nothing but their names tells them apart, so that they are one stack."""
    same = len({tuple(header.traits[field] for field in WHERE) for header in headers}) == 1
    axes = leading_axes(headers, options)
    return same and not axes.sort


def _fitting(parts: Sequence[_Part], options: StackOptions, *, mosaics: bool) -> list[StackOptions]:
    """The options of each part, with ``mosaic`` set for those that are no pile; lone files follow the others.

    ``mosaics`` tells whether there are any among the groups that stand already.
    """
    piles = [not options.mosaic and _is_pile(part.headers, options) for part in parts]
    mosaics = mosaics or not all(piles)
    return [
        replace(options, mosaic=not pile or (mosaics and len(part.headers) == 1))
        for part, pile in zip(parts, piles, strict=True)
    ]


def _names(parts: Sequence[_Part], taken: Sequence[str], *, rooted: bool) -> list[str]:
    """The paths of the groups: the root when there is but one, and none beside it, if it may be the root."""
    if len(parts) == 1 and not taken and rooted:
        return [""]
    names: list[str] = []
    for part in parts:
        eras = {one.era for one in parts if one.base == part.base}
        numbers = {one.number for one in parts if (one.base, one.era) == (part.base, part.era)}
        name = part.base
        name += f"_era{part.era}" if len(eras) > 1 else ""
        name += f"_part{part.number}" if len(numbers) > 1 else ""
        names.append(_beside(part.base, (*taken, *names)) if taken else name)
    return names


def _beside(base: str, taken: Sequence[str]) -> str:
    """A name for one more group of a ground: the next number of the eras or parts that are there."""
    for word in ("era", "part"):
        known = (re.fullmatch(rf"{re.escape(base)}_{word}(\d+)(_part\d+)?", name) for name in taken)
        numbers = [int(match[1]) for match in known if match is not None]
        if numbers:
            return f"{base}_{word}{max(numbers) + 1}"
    number, own = 2, base
    while own in taken:
        number, own = number + 1, f"{base}_{number}"
    return own


def _reasons(parts: Sequence[_Part], names: Sequence[str]) -> tuple[str, ...]:
    """What sets each group but the first apart from the most similar one before it."""
    reasons = []
    for position, (part, name) in enumerate(zip(parts, names, strict=True)):
        if position == 0:
            continue
        other = _nearest(parts[:position], part)
        count = f"{len(part.headers)} file{'s' if len(part.headers) > 1 else ''}"
        reasons.append(f"{name} ({count}) is apart from {names[other]}: {_why(parts[other], part)}")
    return tuple(reasons)


def _nearest(parts: Sequence[_Part], part: _Part) -> int:
    """Which part differs the least; those of the same ground and era go before those of the same ground, and others."""
    kin = [number for number, one in enumerate(parts) if (one.base, one.era) == (part.base, part.era)]
    kin = kin or [number for number, one in enumerate(parts) if one.base == part.base] or list(range(len(parts)))
    return min(kin[:_MAX_COMPARED], key=lambda number: len(_differences(parts[number], part)))


def _why(one: _Part, two: _Part) -> str:
    if one.base == two.base and one.era == two.era:
        return "its files overlap with those, or lie between their chunks"
    listed = ", ".join(f"{field} ({after}, not {before})" for field, before, after in _differences(one, two))
    grounds = [footprint(part.headers[0]) for part in (one, two)]
    if not listed and not same_resolution(grounds[0].transform, grounds[1]):
        return f"its pixels are {pixel_size(grounds[1])}, not {pixel_size(grounds[0])}"
    return f"it differs in {listed or 'masks'}"


def _differences(one: _Part, two: _Part) -> list[tuple[str, str, str]]:
    """The traits in which the files of two groups differ, with their values, as people call them.

    Those that say where the files lie, or that follow from others, are left out.
    """
    before, after = (part.headers[0].traits for part in (one, two))
    fields = [field for field in {**before, **after} if field not in WHERE and before.get(field) != after.get(field)]
    chains = (
        {name for traits in (before, after) for name in traits["codecs"].split(" > ")} if "codecs" in fields else ()
    )
    implied = {
        *(["fill value"] if len(fields) > 1 else []),
        *(["last rows"] if "chunk shape" in fields else []),
        *([f"{CODEC_NAME} sample_format", f"{CODEC_NAME} bits"] if "data type" in fields else []),
        *(field for field in fields if field.partition(" ")[0] in chains),
    }
    return [
        (field.removeprefix(f"{CODEC_NAME} "), _readable(field, before), _readable(field, after))
        for field in fields
        if field not in implied
    ]


def _readable(field: str, traits: Mapping[str, str]) -> str:
    """The value of a trait; compression schemes by their names."""
    text = traits.get(field, "none")
    code = traits.get(f"{CODEC_NAME} compression", "")
    scheme = COMPRESSION_NAMES.get(int(code), code) if code.isdecimal() else code
    if field == "codecs":
        return text.replace(CODEC_NAME, f"{CODEC_NAME} of {scheme}")
    return scheme if field == f"{CODEC_NAME} compression" else text
