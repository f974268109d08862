"""Whether files can be one array: all that differs is named, with the values and the files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from itertools import takewhile

from virtual_tiff.cube.header import FileHeader
from virtual_tiff.errors import ConformError
from virtual_tiff.geo.bands import band_labels

_MAX_WORD = 60
_MAX_NAMES = 3
_MAX_VALUES = 4
_ABSENT = "absent"

type Groups = dict[str, list[str]]
"""URLs by value; the commonest value comes first."""


def check_conform(headers: Sequence[FileHeader], *, ignore: Collection[str] = ()) -> None:
    """Refuse files that cannot be one array; fields to ignore are those that say where a tile lies.

    Raises
    ------
    ConformError
        ``conform``; the message names each field in which files differ, the values, and the files.
    """
    differences = {key: groups for key, groups in find_differences(headers).items() if key not in ignore}
    if not differences:
        return
    urls = [header.place.plain for header in headers]
    names = dict(zip(urls, short_names(urls), strict=True))
    # Fields that part the files in the same way are told together.
    partitions: dict[tuple[tuple[str, ...], ...], list[str]] = defaultdict(list)
    for field, groups in differences.items():
        partitions[tuple(map(tuple, groups.values()))].append(field)
    told = [_tell({field: differences[field] for field in fields}, names) for fields in partitions.values()]
    found = f"{len(headers)} files cannot be one array: {'; '.join(told)}"
    hint = "Publish them as separate cubes, or rewrite the files that differ."
    raise ConformError(found, feature="conform", hint=hint)


def check_band_order(headers: Sequence[FileHeader]) -> None:
    """Refuse files that hold a band of the same name, or of the same colour, in different places.

    Names may differ otherwise, since many hold dates; then the array has none.

    Raises
    ------
    ConformError
        ``conform``; the message names the band and two files.
    """
    places: dict[str, tuple[int, FileHeader]] = {}
    seen = set()
    for header in headers:
        names = tuple(band_labels(header.metadata) or ())
        if names in seen:
            continue
        seen.add(names)
        for position, name in enumerate(names):
            known, first = places.setdefault(name, (position, header))
            if known != position:
                one, two = short_names([first.place.plain, header.place.plain])
                found = f"{name!r} is band {known + 1} of {one} and band {position + 1} of {two}"
                raise ConformError(found, feature="conform", hint="Publish them as separate cubes.")


def find_differences(headers: Sequence[FileHeader]) -> dict[str, Groups]:
    """For each field in which files differ: the URLs by value, the commonest value first."""
    fields = {field: None for header in headers for field in header.traits}
    differences: dict[str, Groups] = {}
    for field in fields:
        groups: Groups = defaultdict(list)
        for header in headers:
            groups[header.traits.get(field, _ABSENT)].append(header.place.plain)
        if len(groups) > 1:
            differences[field] = dict(sorted(groups.items(), key=lambda item: -len(item[1])))
    if "codecs" in differences:  # then the fields of the codecs say nothing new
        codecs = {name for chain in differences["codecs"] for name in chain.split(" > ")}
        differences = {key: groups for key, groups in differences.items() if key.partition(" ")[0] not in codecs}
    if len(differences) > 1:  # it follows from the nodata value and the data type
        differences.pop("fill value", None)
    return differences


def _tell(fields: dict[str, Groups], names: dict[str, str]) -> str:
    """Fields with the same groups of files: the exceptions by name, the majority by number."""
    groups = next(iter(fields.values()))
    if len(groups) > 2:
        return "; ".join(_tell_values(field, values, names) for field, values in fields.items())
    majority, others = groups.values()
    values = ((field, *parted) for field, parted in fields.items())
    listed = ", ".join(f"{field} ({_shown(odd)}, not {_shown(common)})" for field, common, odd in values)
    verb = "differs" if len(others) == 1 else "differ"
    rest = names[majority[0]] if len(majority) == 1 else f"the other {len(majority)}"
    return f"{_some(others, names)} {verb} from {rest} in {listed}"


def _tell_values(field: str, groups: Groups, names: dict[str, str]) -> str:
    """One field with many values."""
    parts = [f"{_shown(value)} in {_some(urls, names)}" for value, urls in list(groups.items())[:_MAX_VALUES]]
    if len(groups) > _MAX_VALUES:
        parts.append(f"{len(groups) - _MAX_VALUES} further values")
    return f"they differ in {field} ({', '.join(parts)})"


def _shown(value: str) -> str:
    """A value as people see it: tables in base64 would fill the screen."""
    return value if len(value) <= _MAX_WORD or " " in value else f"{value[:_MAX_WORD]}..."


def _some(urls: Sequence[str], names: dict[str, str]) -> str:
    more = f" and {len(urls) - _MAX_NAMES} more" if len(urls) > _MAX_NAMES else ""
    return ", ".join(names[url] for url in urls[:_MAX_NAMES]) + more


def short_names(urls: Sequence[str]) -> list[str]:
    """The shortest names that tell files apart: file names, else paths below the common folder."""
    names = [url.rpartition("/")[2] for url in urls]
    if len(set(names)) == len(names):
        return names
    split = [url.split("/") for url in urls]
    pairs = zip(min(split), max(split), strict=False)
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return ["/".join(parts[common:]) or parts[-1] for parts in split]
