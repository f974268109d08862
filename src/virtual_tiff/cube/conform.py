"""Whether files can be one array: all that differs is named, with the files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import takewhile

from virtual_tiff.cube.header import FileHeader
from virtual_tiff.errors import ConformError

_MAX_NAMES = 3
_MAX_VALUES = 4
_ABSENT = "absent"


def check_conform(headers: Sequence[FileHeader]) -> None:
    """Refuse files that cannot be one array.

    Raises
    ------
    ConformError
        ``conform``; the message names each field in which files differ, the values, and the files.
    """
    differences = find_differences(headers)
    if not differences:
        return
    names = dict(
        zip((header.url for header in headers), short_names([header.url for header in headers]), strict=True)
    )
    told = [_tell(field, groups, names) for field, groups in differences.items()]
    found = f"{len(headers)} files cannot be one array; they differ in {'; '.join(told)}"
    hint = "Publish them as separate cubes, or rewrite the files that differ."
    raise ConformError(found, feature="conform", hint=hint)


def find_differences(headers: Sequence[FileHeader]) -> dict[str, dict[str, list[str]]]:
    """For each field in which files differ: the URLs by value, the commonest value first."""
    fields = {field: None for header in headers for field in header.traits}
    differences = {}
    for field in fields:
        groups: dict[str, list[str]] = defaultdict(list)
        for header in headers:
            groups[header.traits.get(field, _ABSENT)].append(header.url)
        if len(groups) > 1:
            differences[field] = dict(sorted(groups.items(), key=lambda item: -len(item[1])))
    if "codecs" in differences:  # then the fields of their configurations say nothing new
        chains = differences["codecs"]
        codecs = {name for chain in chains for name in chain.split(" > ")}
        differences = {
            field: value for field, value in differences.items() if field.partition(" ")[0] not in codecs
        }
    return differences


def _tell(field: str, groups: dict[str, list[str]], names: dict[str, str]) -> str:
    """One field as text: the exceptions by name, the majority by number."""
    (common, majority), *others = groups.items()
    parts = []
    for value, urls in others[:_MAX_VALUES]:
        listed = ", ".join(names[url] for url in urls[:_MAX_NAMES])
        more = f" and {len(urls) - _MAX_NAMES} more" if len(urls) > _MAX_NAMES else ""
        parts.append(f"{value} in {listed}{more}")
    if len(others) > _MAX_VALUES:
        parts.append(f"{len(others) - _MAX_VALUES} further values")
    rest = names[majority[0]] if len(majority) == 1 else f"the other {len(majority)}"
    return f"{field} ({', '.join(parts)}; {common} in {rest})"


def short_names(urls: Sequence[str]) -> list[str]:
    """The shortest names that tell files apart: file names, else paths below the common folder."""
    names = [url.rpartition("/")[2] for url in urls]
    if len(set(names)) == len(names):
        return names
    split = [url.split("/") for url in urls]
    common = sum(
        1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(min(split), max(split), strict=False))
    )
    return ["/".join(parts[common:]) or parts[-1] for parts in split]
