"""Opening a published cube: its containers are found and authorised, from the environment or as told."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Final

import icechunk
import xarray as xr
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.core.metadata.v3 import RectilinearChunksDisabledError
from zarr.errors import ContainsArrayError

from virtual_tiff.cube.access import Call, repository_storage, source_credentials
from virtual_tiff.cube.authorize import check_access
from virtual_tiff.cube.patient import PatientStore, insist
from virtual_tiff.cube.runner import run
from virtual_tiff.cube.stores import Location, locate
from virtual_tiff.cube.target import open_existing, translated
from virtual_tiff.errors import TargetError, UsageError
from virtual_tiff.pipeline import open_group

RECTILINEAR: Final = {"array.rectilinear_chunks": True}
"""What zarr-python's configuration must say before it reads arrays of rectilinear chunks."""

_MAX_NAMES = 5

type Credentials = Mapping[str, Any]
"""Icechunk credentials by container: its name or its URL prefix."""


def open_repository(path: str | os.PathLike[str], *, credentials: Credentials | None = None) -> icechunk.Repository:
    """Open the Icechunk repository of a cube, with access to its sources.

    Parameters
    ----------
    path
        A local directory, or an ``s3://``, ``gs://``, ``az://`` or ``http(s)://`` URL.
    credentials
        Icechunk credentials for containers, by name or URL prefix, such as
        ``{"s3://bucket/": icechunk.s3_static_credentials(...)}``. The others are taken from the environment;
        ``AWS_SKIP_SIGNATURE=true`` reads public buckets.

    Raises
    ------
    TargetError
        ``target-missing`` when no repository is there; ``container`` when the sources may not be read.
    """
    place = locate(path)
    containers = containers_in(place)
    return _open_with(place, _authorize(place, containers, credentials or {}))


def _open_with(place: Location, authorized: Mapping[str, Any]) -> icechunk.Repository:
    return open_existing(place, authorize_virtual_chunk_access=icechunk.containers_credentials(authorized))


def open_cube(
    path: str | os.PathLike[str],
    *,
    group: str | None = None,
    level: int | None = None,
    branch: str | None = None,
    tag: str | None = None,
    snapshot: str | None = None,
    credentials: Credentials | None = None,
    check: bool = True,
    chunks: Any = None,
    **options: Any,
) -> xr.Dataset:
    """Open a published cube as a lazy xarray Dataset.

    Parameters
    ----------
    path
        A local directory, or an ``s3://``, ``gs://``, ``az://`` or ``http(s)://`` URL.
    group
        A group inside the repository.
    level
        A level of a cube with overviews, 0 (the default) the finest; 0 is also what a cube without overviews has.
    branch, tag, snapshot
        The version; the newest of branch "main" when none is given.
    credentials
        See :func:`open_repository`.
    check
        Whether to ask for one byte of one source in each bucket and on each web server, so that missing credentials
        are told now and not at the first pixel.
    chunks
        As in xarray: ``{}`` gives Dask arrays, None lazy arrays without Dask.
    **options
        More arguments for :func:`xarray.open_zarr`. Unless `decode_times` says otherwise, times are whole
        microseconds, of any year.

    Raises
    ------
    TargetError
        ``target-missing``, ``target-not-a-cube`` or ``container``.
    SourceError
        ``forbidden`` when the sources below a prefix may not be read; it says what is needed.
    """
    if sum(version is not None for version in (branch, tag, snapshot)) > 1:
        raise UsageError("more than one of branch, tag and snapshot", feature="usage", url=str(path))
    if tag is None and snapshot is None and branch is None:
        branch = "main"
    place = locate(path)
    containers = containers_in(place)
    authorized = _authorize(place, containers, credentials or {})
    with translated(place):
        repository = _open_with(place, authorized)
        session = insist(lambda: repository.readonly_session(branch, tag=tag, snapshot_id=snapshot))
        store = PatientStore.of(session)
        top = group or ""
        group = run(_level_group(store, top, level, place) if level is not None else _array_group(store, top, place))
        if check:
            run(check_access(store, run(_ledger_group(store, top)), containers, authorized))
    options.setdefault("decode_times", xr.coders.CFDatetimeCoder(time_unit="us"))
    try:
        dataset = _open_group(store, group=group, chunks=chunks, **options)
    except FileNotFoundError as error:
        found = f"the repository has no group {group or '/'}"
        raise TargetError(found, feature="target-not-a-cube", url=place.url) from error
    except ContainsArrayError as error:
        found = f"/{group} is an array, not a group"
        above = group.rpartition("/")[0]
        hint = f"Open the group above it: group={above!r}." if above else "Open the cube without a group."
        raise TargetError(found, feature="target-not-a-cube", url=place.url, hint=hint) from error
    return dataset


def _open_group(store: PatientStore, **options: Any) -> xr.Dataset:
    """Open a group, also one of rectilinear chunks, which zarr must be told when it reads their metadata."""
    try:
        return open_group(store, **options)
    except RectilinearChunksDisabledError:
        with zarr.config.set(RECTILINEAR):
            return open_group(store, **options)


async def _array_group(store: PatientStore, group: str, place: Location) -> str:
    """The group itself, or the finest level below it where it has overviews."""
    there = [key async for key in store.list_dir(group)]
    if group and not there:
        raise await _no_group(store, group, place)
    if "0" in there:
        return f"{group}/0".lstrip("/")
    below = sorted(key for key in there if not key.startswith("_") and key != "zarr.json")
    for key in below:
        metadata = await store.get(f"{group}/{key}/zarr.json".lstrip("/"), default_buffer_prototype())
        if metadata is None or json.loads(metadata.to_bytes())["node_type"] == "array":
            return group
    if not below:
        return group
    found = f"/{group} holds no arrays, but groups"
    hint = f"Name one: group={' or '.join(repr(f'{group}/{key}'.lstrip('/')) for key in below[:_MAX_NAMES])}."
    raise TargetError(found, feature="target-not-a-cube", url=place.url, hint=hint)


async def _no_group(store: PatientStore, group: str, place: Location) -> TargetError:
    """The error for a group that is not there, which names those that are."""
    top = sorted([key async for key in store.list_dir("") if not key.startswith("_") and key != "zarr.json"])
    found = [await store.get(f"{key}/zarr.json", default_buffer_prototype()) for key in top]
    read = zip(top, found, strict=True)
    groups = [key for key, one in read if one is not None and json.loads(one.to_bytes())["node_type"] == "group"]
    more = f" and {len(groups) - _MAX_NAMES} more" if len(groups) > _MAX_NAMES else ""
    hint = f"It has {', '.join(map(repr, groups[:_MAX_NAMES]))}{more}." if groups else "Open it without a group."
    return TargetError(f"the repository has no group {group}", feature="target-not-a-cube", url=place.url, hint=hint)


async def _ledger_group(store: PatientStore, group: str) -> str:
    """The group of the cube that a group belongs to: the nearest one that has a ledger."""
    parts = group.split("/") if group else []
    for length in range(len(parts), 0, -1):
        above = "/".join(parts[:length])
        if await store.exists(f"{above}/_sources/zarr.json"):
            return above
    return ""


async def _level_group(store: PatientStore, group: str, level: int, place: Location) -> str:
    """The group of a level, in which a cube with overviews keeps it."""
    there = sorted(int(key) for key in [key async for key in store.list_dir(group)] if key.isdecimal())
    if not there and level == 0:
        return group
    if level not in there:
        found = f"the cube has no level {level}"
        hint = f"It has the levels {there}." if there else "It has no overviews."
        raise TargetError(found, feature="target-not-a-cube", url=place.url, hint=hint)
    return f"{group}/{level}".lstrip("/")


def containers_in(place: Location) -> Mapping[str, icechunk.VirtualChunkContainer]:
    """The containers of a repository, by URL prefix, in the order of these.

    Raises
    ------
    TargetError
        ``target-missing`` when no repository is there.
    """
    return dict(sorted((open_existing(place).config.virtual_chunk_containers or {}).items()))


def _authorize(
    place: Location, containers: Mapping[str, icechunk.VirtualChunkContainer], credentials: Credentials
) -> dict[str, Any]:
    unknown = set(credentials) - set(containers) - {container.name for container in containers.values()}
    if unknown:
        found = f"the cube has no container {sorted(unknown)}"
        raise UsageError(found, feature="usage", url=place.url, hint=f"It has: {sorted(containers)}.")
    authorized = {}
    for prefix, container in containers.items():
        given = credentials.get(prefix, credentials.get(container.name or prefix))
        if given is None and prefix.startswith("file:") and place.scheme in ("http", "https"):
            found = f"a cube on a web server wants to read local files below {prefix}"
            hint = f"If you trust it: credentials={{{prefix!r}: icechunk.credentials.LocalFileSystemAccess}}."
            raise TargetError(found, feature="container", url=place.url, hint=hint)
        authorized[prefix] = given if given is not None else source_credentials(prefix, container.store).make()
    return authorized


def reader_code(
    place: Location,
    containers: Mapping[str, icechunk.VirtualChunkContainer],
    *,
    group: str = "",
    rectilinear: bool = False,
) -> str:
    """What a reader types who has only icechunk, xarray and the codecs."""
    calls: dict[str, Call] = {
        prefix: source_credentials(prefix, one.store) for prefix, one in sorted(containers.items())
    }
    access = "".join(f"        {prefix!r}: {call},\n" for prefix, call in calls.items())
    inside = f"group={group!r}, " if group else ""
    settings = f"import zarr\nzarr.config.set({RECTILINEAR!r})\n" if rectilinear else ""
    return (
        f"{settings}import icechunk, xarray\n"
        "repo = icechunk.Repository.open(\n"
        f"    {repository_storage(place)},\n"
        "    authorize_virtual_chunk_access=icechunk.containers_credentials({\n"
        f"{access}"
        "    }),\n"
        ")\n"
        'ds = xarray.open_zarr(repo.readonly_session("main").store, '
        f"{inside}consolidated=False, zarr_format=3)\n"
    )
