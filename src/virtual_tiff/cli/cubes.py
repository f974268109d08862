"""What the commands for cubes print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from virtual_tiff.cli.show import count, indent

if TYPE_CHECKING:
    from virtual_tiff.cube.append import Appended
    from virtual_tiff.cube.explain import Explanation
    from virtual_tiff.cube.history import Commit
    from virtual_tiff.cube.persist import Published
    from virtual_tiff.cube.tidy import Tidied
    from virtual_tiff.cube.verify import Verification

_MAX_LISTED: Final = 20
_MAX_TITLE: Final = 100


def show_plan(explanation: Explanation, *, failed: int, ledger: Path | None) -> None:
    """Say what would be written."""
    typer.echo(explanation.text())
    if failed:
        typer.echo(f"\nLeft out: {count(failed, 'file')} that cannot be read")
    typer.echo(f"\nNothing was written{'' if ledger is None else f' but the ledger {ledger}'}.")


def show_published(published: Published, groups: Sequence[str], *, failed: int) -> None:
    """Say what was written, and what a reader types."""
    _warn(published.warnings)
    files = count(published.files, "file")
    references = count(published.references, "reference")
    typer.echo(f"Published {files}, {references}, as {published.url} (snapshot {published.snapshot})")
    _list("", published.arrays.splitlines())
    _list("note: ", published.notes)
    if failed:
        typer.echo(f"Skipped {count(failed, 'file')} that could not be read")
    typer.echo("\nTo read it:\n")
    first, *others = groups or (published.group,)
    typer.echo(indent(f"from virtual_tiff import open_cube\nds = {_opening(published.url, first)}"))
    codec = " and the codec of virtual-tiff" if published.portability == "segment" else ""
    typer.echo(f"\nor, with icechunk, xarray{codec} alone:\n")
    typer.echo(indent(published.code))
    if others:
        typer.echo("\nOther groups:\n")
        _list("  ", [_opening(published.url, group) for group in others])


def show_appended(done: Appended) -> None:
    """Say what came in."""
    _warn(done.warnings)
    late = f" ({done.late:,} before the end)" if done.late else ""
    unused = f"{len(done.unused):,} without a place, " if done.unused else ""
    counts = f"{len(done.added):,} new{late}, {len(done.replaced):,} replaced, {unused}{done.unchanged:,} unchanged"
    typer.echo(f"{'Would append' if done.dry_run else 'Appended'} to {done.url}: {counts}")
    for sign, urls in (("+ ", done.added), ("~ ", done.replaced), ("- ", done.unused)):
        _list(sign, urls)
    _list("new group: ", done.new_groups)
    _list("note: ", done.notes)
    if done.failed:
        typer.echo(f"Skipped {count(len(done.failed), 'file')} that could not be read, or do not fit")
    for snapshot in done.snapshots:
        typer.echo(f"Snapshot {snapshot}")
    for prefix in done.new_containers:
        typer.echo(f"New container: readers that name containers by hand must authorize {prefix}, too")


def show_verification(found: Verification, *, every: bool = False) -> None:
    """Say which sources are no longer what they were, and which chunks differ; the totals come last."""
    left = {url: f"; not written again: {why.removeprefix(f'{url}: ')}" for url, why in found.failed.items()}
    lines = [(str(one.state), one.url, one.why + left.get(one.url, "")) for one in found.problems]
    apart = [one for one in found.pixels if not one.agree]
    chunks = [("differs", f"{one.array} {list(one.chunk)} of {one.url}", one.why) for one in apart]
    for texts in (lines, chunks):
        width = max((len(word) for word, _, _ in texts), default=0)
        whole = [f"{word:<{width}}  {what}{': ' if why else ''}{_one_line(why)}" for word, what, why in texts]
        _list("", whole, limit=len(whole) if every else _MAX_LISTED, hint="; --verbose tells of all")
    if found.asked:
        agree = len(found.pixels) - len(apart)
        fewer = f" ({found.asked:,} were asked for)" if found.asked > len(found.pixels) else ""
        typer.echo(f"{agree:,} of {len(found.pixels):,} compared chunks agree{fewer}")
    for word, urls in (("Fixed", found.fixed), ("Accepted", found.accepted)):
        if urls:
            typer.echo(f"{word} {count(len(urls), 'source')}")
    counts = ", ".join(f"{number:,} {state}" for state, number in found.counts.items() if number)
    typer.echo(f"{found.url}: {counts or 'no sources'}")


def show_log(commits: Sequence[Commit], *, whole: bool = False) -> None:
    """Show commits, one a line, the beginning of their titles or the `whole` of them."""
    for one in commits:
        sources = "" if one.sources is None else f"  [{count(one.sources, 'file')}]"
        title = one.title if whole or len(one.title) <= _MAX_TITLE else f"{one.title[: _MAX_TITLE - 3]}..."
        typer.echo(f"{one.snapshot}  {one.time:%Y-%m-%d %H:%M:%S}  {title}{sources}")


def opened_json(
    dataset: Any, groups: Sequence[str], needs: Mapping[str, str], failed: Mapping[str, str]
) -> dict[str, Any]:
    """The variables of a cube, its groups, and what its containers need, as JSON values."""
    variables = {
        str(name): {"dimensions": {str(dim): size for dim, size in one.sizes.items()}, "dtype": str(one.dtype)}
        for name, one in dataset.variables.items()
    }
    containers = {prefix: {"credentials": call, "error": failed.get(prefix)} for prefix, call in needs.items()}
    return {"variables": variables, "groups": list(groups), "containers": containers}


def show_opened(
    dataset: Any, groups: Sequence[str], needs: Mapping[str, str], failed: Mapping[str, str], code: str, *, shown: str
) -> None:
    """Show a cube, its groups, the credentials by which its sources are read, and the code that opens it."""
    typer.echo(repr(dataset))
    if any(groups):
        typer.echo("\nGroups:")
        _list("", [f"{group or '/'}{' (shown above)' if group == shown else ''}" for group in groups])
    typer.echo("\nSources:")
    for prefix, call in needs.items():
        typer.echo(f"  {prefix}: {call}{' (may not be read)' if prefix in failed else ''}")
    typer.echo(f"\nTo read it:\n\n{code}")


def show_tidied(done: Tidied, *, dry_run: bool) -> None:
    """Say what was removed."""
    objects = f"{count(done.objects, 'object')} ({count(done.bytes, 'byte')})"
    snapshots = f", {count(done.expired, 'snapshot')} of the history" if done.expired else ""
    verb = "Would remove from" if dry_run else "Removed from"
    typer.echo(
        f"{verb} {done.url}: {count(len(done.branches), 'working branch', 'working branches')}, {objects}{snapshots}"
    )


def _warn(warnings: Sequence[str]) -> None:
    for warning in warnings[:_MAX_LISTED]:
        typer.echo(f"warning: {warning}", err=True)
    if len(warnings) > _MAX_LISTED:
        typer.echo(f"warning: {len(warnings) - _MAX_LISTED:,} more; --json has all", err=True)


def _list(sign: str, texts: Sequence[str], *, limit: int = _MAX_LISTED, hint: str = "") -> None:
    """Print texts, one a line, up to a number of them."""
    for text in texts[:limit]:
        typer.echo(f"  {sign}{text}")
    if len(texts) > limit:
        typer.echo(f"  {sign}... and {len(texts) - limit:,} more{hint}")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def has_rectilinear_chunks(dataset: Any) -> bool:
    """Whether a client needs to know chunks of several sizes along an axis."""
    grids = (variable.encoding.get("chunks") or () for variable in dataset.variables.values())
    return any(isinstance(sizes, tuple) for grid in grids for sizes in grid)


def _opening(url: str, group: str) -> str:
    """What opens a group of a cube."""
    return f"open_cube({url!r}{f', group={group!r}' if group else ''})"
