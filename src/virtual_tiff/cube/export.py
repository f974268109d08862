"""A cube as references in the form of kerchunk: what publishing would write into Icechunk, as JSON or Parquet."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import PurePosixPath
from typing import Any, Final, Literal, cast, get_args

from virtual_tiff.cube.blueprint import ArrayPlan, CubePlan, GroupPlan, Placement
from virtual_tiff.cube.container import check_lasting
from virtual_tiff.cube.deliver import check_vacant, delivered
from virtual_tiff.cube.draft import Draft, Request, draft
from virtual_tiff.cube.fresh import check_local
from virtual_tiff.cube.listed import Input
from virtual_tiff.cube.results import OnProgress
from virtual_tiff.cube.stores import Location, anonymous, locate, s3_endpoint
from virtual_tiff.cube.write import joined
from virtual_tiff.errors import UsageError
from virtual_tiff.geo.coordinate import Coordinate
from virtual_tiff.references.columnar import METADATA, RECORD_SIZE, write_parquet
from virtual_tiff.references.forms import form_of
from virtual_tiff.references.nodes import ArrayNode, Block, GroupNode, Node, ZarrFormat
from virtual_tiff.references.textual import write_json
from virtual_tiff.stored import stored_chunk, stored_json

type Format = Literal["json", "parquet"]

_SUFFIXES: Final[dict[str, Format]] = {".json": "json", ".parquet": "parquet", ".parq": "parquet"}
_PACKAGES: Final = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "http": "aiohttp", "https": "aiohttp"}
"""What fsspec needs for a scheme."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: where, in which form, for how many files and references, and how to read it.

    ``groups`` are the paths of those that hold arrays, ``needs`` the packages that a reader must have. ``notes`` say
    what was split or left out, and what Zarr v2 cannot say; ``unused`` are the URLs of files without a place.
    """

    url: str
    format: Format
    zarr_format: ZarrFormat
    groups: tuple[str, ...]
    files: int
    references: int
    arrays: str
    portability: str
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    unused: tuple[str, ...]
    needs: tuple[str, ...]
    code: str


@dataclass(frozen=True, slots=True)
class Target:
    """Where references are written, and in which form."""

    place: Location
    format: Format
    zarr_format: ZarrFormat
    record_size: int

    @classmethod
    def of(
        cls,
        to: str | os.PathLike[str],
        *,
        format: Format | None = None,  # noqa: A002 (the option is called so)
        zarr_format: ZarrFormat | None = None,
        record_size: int = RECORD_SIZE,
    ) -> Target:
        """Fill in what the name of the target says, and refuse what cannot be; nothing is written.

        Raises
        ------
        UsageError
            ``usage`` for a form that does not exist, and for one that readers would take for the other.
        TargetError
            ``target-exists`` or ``target-denied``.
        """
        place = locate(to)
        chosen = format or _SUFFIXES.get(PurePosixPath(place.path).suffix.lower())
        if chosen is None:
            found = "the name of the target does not say what it is"
            hint = "End it with .json or .parquet, or say format= (--format)."
            raise UsageError(found, feature="usage", url=place.plain, hint=hint)
        if chosen not in get_args(Format.__value__):
            raise UsageError(f"format={format!r}", feature="usage", hint="Choose 'json' or 'parquet'.")
        if zarr_format not in (None, 2, 3):
            raise UsageError(f"zarr_format={zarr_format!r}", feature="usage", hint="Choose 2 or 3.")
        if chosen == "parquet" and zarr_format == 3:
            found = "references in Parquet hold metadata of Zarr v2 only"
            raise UsageError(found, feature="usage", hint="Write JSON, or leave out zarr_format (--zarr-format).")
        if chosen == "parquet" and ".json" in place.path:
            found = "fsspec takes a path with .json in it for JSON"
            raise UsageError(found, feature="usage", url=place.plain, hint="Choose a name that ends with .parquet.")
        if record_size < 1:
            raise UsageError(f"record_size={record_size}", feature="usage", hint="It is a number of references.")
        check_vacant(place)
        return cls(place, chosen, zarr_format or (3 if chosen == "json" else 2), record_size)


def export_references(
    inputs: Input,
    to: str | os.PathLike[str],
    *,
    format: Format | None = None,  # noqa: A002 (the option is called so)
    zarr_format: ZarrFormat | None = None,
    record_size: int = RECORD_SIZE,
    on_progress: OnProgress | None = None,
    **options: Any,
) -> Exported:
    """Scan TIFFs, plan their cube, and write its references for kerchunk's readers.

    References hold no checksums: a reader does not notice that a source was replaced, as one of an Icechunk cube does.

    Parameters
    ----------
    inputs
        As for :func:`virtual_tiff.publish`. Of ledgers of scans no source is opened.
    to
        A new file or folder on a local disk or an object store: ``refs.json``, ``s3://bucket/refs.parquet``.
    format
        "json" is one file; "parquet" a folder of which readers fetch what they need, for many references. By default
        what the suffix says.
    zarr_format
        3 (the default of JSON) or 2 (of Parquet, which has no other). Zarr v2 is for older readers: it keeps
        pixel-interleaved bands in the order of the file, ``(y, x, band)``, and has no rectilinear chunk grids.
    record_size
        References in a file of Parquet.
    on_progress
        Called after each file.
    **options
        Those of :func:`virtual_tiff.publish` that say what is read and what the cube is like.

    Raises
    ------
    VirtualTiffError
        What is wrong with a file, with the files together, or with the target. Nothing is left behind.
    """
    unknown = set(options) - {field.name for field in fields(Request)}
    if unknown:
        raise UsageError(f"unknown options {', '.join(sorted(unknown))}", feature="usage")
    request = Request(**options)
    target = Target.of(to, format=format, zarr_format=zarr_format, record_size=record_size)
    return export_draft(draft(inputs, request, on_progress=on_progress), target)


def export_draft(made: Draft, target: Target) -> Exported:
    """Write the references of what :func:`virtual_tiff.cube.draft.draft` has planned; see :func:`export_plan`."""
    if made.plan is None:
        made.scan.check()
        raise UsageError("there are no files", feature="usage")
    return export_plan(made.plan, target)


def export_plan(plan: CubePlan, target: Target) -> Exported:
    """Write the references of a planned cube, all of them or nothing.

    Raises
    ------
    UsageError
        ``usage`` for what Zarr v2 cannot express, and for URLs that cannot be referenced for good.
    TargetError
        ``target-exists`` or ``target-denied``.
    SourceError
        ``source-changed`` when a local file was replaced after its header had been read. One that is not there may come
        back, and readers see when it does not; what they cannot see is that they read another file.
    """
    for header in plan.headers:
        check_lasting(header.place)
    for header in plan.headers:
        check_local(header, may_be_gone=True)
    forms = [form_of(node, target.zarr_format) for node in nodes_of(plan.groups)]
    last = METADATA if target.format == "parquet" else None
    with delivered(target.place, last=last) as path:
        if target.format == "json":
            write_json(path, forms)
        else:
            write_parquet(path, forms, target.record_size)
    filled = tuple(group.path for group in plan.groups if group.arrays)
    return Exported(
        url=target.place.url,
        format=target.format,
        zarr_format=target.zarr_format,
        groups=filled,
        files=len(plan.headers),
        references=plan.references,
        arrays=plan.describe(),
        portability=plan.portability,
        warnings=(*plan.warnings, *_mixed(plan)),
        notes=(*plan.notes, *(note for form in forms for note in form.notes)),
        unused=tuple(header.url for header in plan.unused),
        needs=_needs(plan, target),
        code=reader_code(target, {header.place.scheme for header in plan.headers}, group=filled[0]),
    )


def nodes_of(groups: Sequence[GroupPlan]) -> Iterator[Node]:
    """The groups of a plan, those above them, their arrays and coordinates, in the order of their paths."""
    planned = {group.path: group for group in groups}
    above = {path for one in planned for path in _above(one)}
    for path in sorted(above | set(planned)):
        group = planned.get(path)
        if group is None:
            yield GroupNode(path=path)
            continue
        yield GroupNode(path=path, attributes=group.attributes)
        for coordinate in (*group.coordinates, *(axis.coordinate for axis in group.axes)):
            yield _stored_node(path, coordinate)
        for array in group.arrays:
            yield _array_node(path, array)


def _above(path: str) -> list[str]:
    parts = path.split("/") if path else []
    return ["/".join(parts[:length]) for length in range(len(parts))]


def _stored_node(path: str, coordinate: Coordinate) -> ArrayNode:
    grid = (1,) * coordinate.values.ndim
    return ArrayNode(
        path=joined(path, coordinate.name),
        metadata=stored_json(coordinate),
        grid=grid,
        stored={(0,) * len(grid): stored_chunk(coordinate.values)},
    )


def _array_node(path: str, array: ArrayPlan) -> ArrayNode:
    return ArrayNode(
        path=joined(path, array.name),
        metadata=array.template.zarr_json(),
        grid=array.template.grid,
        blocks=tuple(_block(placement) for placement in array.placements),
    )


def _block(placement: Placement) -> Block:
    """The references of one file; its byte ranges are not copied."""
    array, grid = placement.array, placement.grid
    lead = (0,) * (len(grid) - len(array.grid))
    return Block(
        url=reference_url(placement.header.place),
        index=placement.index,
        offsets=array.offsets.reshape(grid),
        lengths=array.lengths.reshape(grid),
        inlined={
            tuple(base + own for base, own in zip(placement.index, (*lead, *index), strict=True)): chunk
            for index, chunk in array.inlined.items()
        },
    )


def reference_url(place: Location) -> str:
    """A file as references name it: local ones by their absolute path, as GDAL and fsspec want it."""
    return str(place.local) if place.local is not None else place.url


def _mixed(plan: CubePlan) -> list[str]:
    """A warning when fsspec cannot read the sources of one set of references together."""
    schemes = {header.place.scheme for header in plan.headers}
    remote = ", ".join(sorted(schemes - {"file"}))
    if "file" not in schemes or not remote:
        return []
    return [f"fsspec does not read local files beside those of {remote} out of one set of references"]


def _needs(plan: CubePlan, target: Target) -> tuple[str, ...]:
    schemes = {target.place.scheme, *(header.place.scheme for header in plan.headers)}
    found = ["fsspec", "xarray", "zarr", *(_PACKAGES[scheme] for scheme in schemes if scheme in _PACKAGES)]
    found += ["fastparquet"] if target.format == "parquet" else []
    found += ["virtual-tiff"] if plan.portability == "segment" else []
    return tuple(sorted(set(found)))


def reader_code(target: Target, schemes: Iterable[str], *, group: str = "") -> str:
    """What a reader types who has only fsspec, zarr, xarray and the codecs; `schemes` are those of the sources."""
    file = reference_url(target.place)
    options: dict[str, Any] = {"fo": file, **_access(sorted(schemes))}
    if target.place.scheme in ("s3", "gs", "az"):
        options["target_options"] = _remote_options(target.place.scheme)
    lines = ['"reference://"', 'engine="zarr"', f"zarr_format={target.zarr_format}"]
    lines += [f"group={group!r}"] if group else []
    lines += [f"consolidated={target.format == 'parquet'}", f"storage_options={options!r}"]
    return "import xarray\nds = xarray.open_dataset(\n" + "".join(f"    {line},\n" for line in lines) + ")"


def _access(schemes: Sequence[str]) -> dict[str, Any]:
    """How fsspec reaches sources: by one protocol, or by each."""
    if len(schemes) == 1:
        own = _remote_options(schemes[0])
        found: dict[str, Any] = {"remote_protocol": schemes[0]}
        return found if schemes[0] == "file" else found | {"remote_options": own | {"asynchronous": True}}
    return {"fs": {scheme: _remote_options(scheme) | {"asynchronous": True} for scheme in schemes}}


def _remote_options(scheme: str) -> dict[str, Any]:
    """The options of fsspec's file systems that the environment of this process says."""
    if scheme == "s3":
        endpoint = s3_endpoint()
        return cast("dict[str, Any]", {"anon": True} if anonymous("s3") else {}) | (
            {"endpoint_url": endpoint} if endpoint else {}
        )
    return {"token": "anon"} if scheme == "gs" and anonymous("gs") else {}
