"""Whether the sources of a cube may be read: one byte of one source in each container.

It is read by Icechunk itself, from a repository in memory that refers to nothing else: with the very
configuration and credentials by which pixels will be read.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

import icechunk
import numpy as np
import zarr
from zarr.core.buffer import default_buffer_prototype

from virtual_tiff.cube.patient import PatientStore, insist_async, is_passing, is_wordless
from virtual_tiff.cube.stores import encode
from virtual_tiff.cube.write import joined
from virtual_tiff.errors import SourceError

type Containers = Mapping[str, icechunk.VirtualChunkContainer]

_COLUMN: Final = "_sources/url"
_MOST_ROWS: Final = 65_536
"""Rows of the ledger that are looked through for a source in each container."""

_LONGEST: Final = 20.0
"""Seconds; what is not known by then is not held against the sources."""

_AT_ONCE: Final = 16
_ABSENT: Final = ("nosuchkey", "notfound", "not found", "no such file")
_HINTS: Final = {
    "s3": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN), or AWS_PROFILE; AWS_REGION where "
    "the bucket has another region; or AWS_SKIP_SIGNATURE=true for a public bucket. Or pass credentials={{{prefix!r}: "
    "icechunk.s3_static_credentials(...)}} or icechunk.s3_anonymous_credentials().",
    "gs": "Set GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_SERVICE_ACCOUNT. Or pass credentials={{{prefix!r}: "
    "icechunk.gcs_static_credentials(...)}}.",
    "az": "Set AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_KEY. Or pass credentials={{{prefix!r}: "
    "icechunk.azure_static_credentials(...)}}.",
    "http": "The server wants a login, which Icechunk cannot give: copy the files, or ask for open access.",
}


async def check_access(store: PatientStore, group: str, containers: Containers, authorized: Mapping[str, Any]) -> None:
    """Refuse credentials by which the sources of a cube cannot be read. Containers of local files are left out.

    Sources that are missing, and servers that do not answer now, are left to the reading of pixels.

    Parameters
    ----------
    store, group
        The cube, of which the ledger is read; one without a ledger is not checked.
    containers
        By prefix.
    authorized
        Credentials by prefix.

    Raises
    ------
    SourceError
        ``forbidden``: with the prefix, what was tried, and what is needed; ``unreachable`` when S3 fails again and
        again without a code.
    """
    asked = {prefix: one for prefix, one in containers.items() if not prefix.startswith("file:")}
    if not asked:
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LONGEST):
            sources = await asyncio.to_thread(_one_source_each, store, group, set(asked))
            await _read_one_byte_each({prefix: asked[prefix] for prefix in sources}, sources, authorized)


def _one_source_each(store: PatientStore, group: str, prefixes: set[str]) -> dict[str, str]:
    """The raw path below its prefix of one source in each container, as far as the ledger has one."""
    try:
        column: Any = zarr.open_array(store, path=joined(group, _COLUMN), mode="r", zarr_format=3)
    except (FileNotFoundError, KeyError, ValueError):
        return {}
    found: dict[str, str] = {}
    step = column.chunks[0]
    for first in range(0, min(column.shape[0], _MOST_ROWS), step):
        for url in np.asarray(column[first : first + step]).tolist():
            plain = unquote(url) if url.startswith("http") else url
            held = {prefix for prefix in prefixes - set(found) if plain.startswith(prefix)}
            found |= {prefix: plain.removeprefix(prefix) for prefix in held}
            if len(found) == len(prefixes):
                return found
    return found


async def _read_one_byte_each(
    containers: Containers, sources: Mapping[str, str], authorized: Mapping[str, Any]
) -> None:
    repository = await _in_memory(containers, authorized)
    session = await repository.writable_session_async("main")
    prefixes = sorted(sources)
    await zarr.api.asynchronous.create_array(
        session.store, name="probe", shape=(len(prefixes),), chunks=(1,), dtype="uint8", filters=None, compressors=None
    )
    for index, prefix in enumerate(prefixes):
        name = containers[prefix].name
        location = f"vcc://{name}/{encode(sources[prefix])}" if name else prefix + encode(sources[prefix])
        await session.store.set_virtual_ref_async(f"probe/c/{index}", location, offset=0, length=1)
    gate = asyncio.Semaphore(_AT_ONCE)

    async def refused(index: int, prefix: str) -> SourceError | None:
        async with gate:
            try:
                await insist_async(lambda: session.store.get(f"probe/c/{index}", default_buffer_prototype()))
            except icechunk.IcechunkError as error:
                return _refusal(prefix, authorized[prefix], error)
        return None

    found = await asyncio.gather(*(refused(index, prefix) for index, prefix in enumerate(prefixes)))
    errors = [error for error in found if error is not None]
    if errors:
        for other in errors[1:]:
            errors[0].add_note(str(other))
        raise errors[0]


async def _in_memory(containers: Containers, authorized: Mapping[str, Any]) -> icechunk.Repository:
    config = icechunk.RepositoryConfig.default()
    for container in containers.values():
        config.set_virtual_chunk_container(container)
    return await icechunk.Repository.create_async(
        icechunk.in_memory_storage(),
        config=config,
        authorize_virtual_chunk_access=icechunk.containers_credentials(
            {prefix: authorized[prefix] for prefix in containers}
        ),
    )


def _refusal(prefix: str, tried: object, error: icechunk.IcechunkError) -> SourceError | None:
    """The error of ours when a failure means that sources may not be read, else None.

    Icechunk does not pass on the status of an answer: where S3 gives no code either, a refusal cannot be told from a
    failure of the server.
    """
    line = next(iter(str(error).strip().splitlines()), "").removeprefix("error fetching virtual reference: ")
    scheme = {"gcs": "gs", "azure": "az", "https": "http"}.get(prefix.partition(":")[0], prefix.partition(":")[0])
    text = line.lower()
    if is_wordless(error) and scheme == "s3":
        found = f"the sources below {prefix} cannot be read: the server fails without saying why ({line})"
        hint = f"It may be overloaded: try again later. Or it refuses the credentials. {_HINTS[scheme]}"
        return SourceError(found, feature="unreachable", url=prefix, hint=hint.format(prefix=prefix))
    if is_passing(error) or any(word in text for word in _ABSENT):
        return None
    if scheme == "http" and "privileges" not in text and "authentication" not in text:
        return None
    how = "without credentials" if scheme == "http" else f"with {_named(tried)}"
    found = f"the sources below {prefix} may not be read {how} ({line})"
    return SourceError(found, feature="forbidden", url=prefix, hint=_HINTS[scheme].format(prefix=prefix))


def _named(tried: object) -> str:
    """How credentials are called in a message."""
    kind = type(tried).__name__.lower()
    if "anonymous" in kind:
        return "unsigned requests"
    return "the credentials of the environment" if "fromenv" in kind else "the given credentials"
