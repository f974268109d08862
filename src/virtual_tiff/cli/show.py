"""What the commands print on success."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from virtual_tiff.cli.rasters import raster_tables

if TYPE_CHECKING:
    from virtual_tiff.cube.describe import FileReport, ImageReport
    from virtual_tiff.demo.run import DemoReport

_ENDLESS = 100_000
_MAX_RASTERS = 8


def indent(code: str) -> str:
    """Code as a block in a text."""
    return "\n".join(f"    {line}" for line in code.rstrip().splitlines())


def count(number: int, noun: str, nouns: str = "") -> str:
    """A number and what it counts, in the singular or the plural."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def show_file(report: FileReport) -> None:
    """Print the facts of a file, tables of its images, and a tree of its IFDs."""
    kind = "BigTIFF" if report.bigtiff else "TIFF"
    facts = [kind, f"{report.byte_order}-endian"]
    if report.cog:
        facts.append("laid out as a COG")
    if report.size is not None:
        facts.append(count(report.size, "byte"))
    console = Console(highlight=False)
    if not console.is_terminal:  # lines stay whole for other programs
        console.width = _ENDLESS
    console.print(Text(f"{report.url}: {', '.join(facts)}"))
    for raster in report.rasters[:_MAX_RASTERS]:
        for table in raster_tables(raster):
            console.print(table)
    if len(report.rasters) > _MAX_RASTERS:
        console.print(f"... and {count(len(report.rasters) - _MAX_RASTERS, 'image')} more")
    tree = Tree(Text("\nAs Zarr", style="bold underline"))
    nodes: dict[str, Tree] = {}
    for image in report.images:
        parent = nodes.get(image.ifd.rpartition(".")[0], tree)
        nodes[image.ifd] = _add_image(parent, image)
    for problem in report.problems:
        tree.add(Text(f"problem: {problem}", style="yellow"))
    console.print(tree)


def _add_image(parent: Tree, image: ImageReport) -> Tree:
    facts = []
    if image.size is not None:
        facts.append(f"{image.size[0]} x {image.size[1]}")
        facts.append(count(image.bands or 1, "band"))
        facts.append(str(image.dtype))
    node = parent.add(Text(f"IFD {image.ifd}: {', '.join([image.subfile, *facts])}", style="bold"))
    if image.layout:
        node.add(Text(f"layout: {image.layout}, {image.compression}"))
    if image.refusal is not None:
        node.add(Text(f"refused: {image.refusal['found']} [{image.refusal['feature']}]", style="red"))
    if image.array is not None:
        _add_array(node, image, image.array)
    for warning in image.warnings:
        node.add(Text(f"warning: {warning}", style="yellow"))
    return node


def _add_array(node: Tree, image: ImageReport, array: dict[str, Any]) -> None:
    sizes = ", ".join(f"{dim}: {size}" for dim, size in zip(array["dimensions"], array["shape"], strict=True))
    grid = " x ".join(map(str, array["chunks"]))
    chunk = " x ".join(map(str, array["chunk_shape"]))
    node.add(Text(f"Zarr array: ({sizes}), {grid} chunks of {chunk}"))
    notes = [count(image.stored_bytes or 0, "byte") + " referenced"]
    if image.missing_chunks:
        notes.append(f"{count(image.missing_chunks, 'chunk')} missing (read as the fill value)")
    if array["inlined_chunks"]:
        notes.append(f"{count(array['inlined_chunks'], 'chunk')} stored inline")
    node.add(Text(f"chunks: {', '.join(notes)}"))
    node.add(Text(f"codecs: {' > '.join(map(_codec, array['codecs']))}"))
    readers = node.add(Text("who can read it:"))
    for client, answer in (image.readers or {}).items():
        readers.add(Text(f"{client}: {answer}", style="green" if answer.startswith("yes") else ""))


def _codec(codec: dict[str, Any]) -> str:
    options = ", ".join(f"{key}={value}" for key, value in codec.get("configuration", {}).items())
    return f"{codec['name']}({options})" if options else str(codec["name"])


def show_demo(report: DemoReport) -> None:
    """Print what the demo made and found."""
    for product, cube in report.cubes.items():
        typer.echo(f"\n{product}: {cube.published.arrays}")
        typer.echo(
            f"  {count(cube.files, 'file')} of {count(cube.archive_bytes, 'byte')} in all, "
            f"{count(cube.published.references, 'reference')} in a repository of "
            f"{count(cube.repository_bytes, 'byte')}"
        )
        typer.echo(f"  read in a fresh process in {cube.read_seconds:.1f} s (start of Python included)")
        typer.echo(f"  every pixel equal to what was made: {_verdict(cube.equal)}")
        if cube.equal_to_gdal is not None:
            typer.echo(f"  every pixel equal to what GDAL reads: {_verdict(cube.equal_to_gdal)}")
    typer.echo(f"\nPicture: {report.picture}")
    last = next(reversed(report.cubes.values())).published
    typer.echo(f"\nTo read it yourself:\n\n{indent(last.code)}")


def _verdict(equal: bool) -> str:  # noqa: FBT001 (the only argument)
    return "yes" if equal else "NO"
