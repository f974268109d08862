"""How Icechunk reaches repositories and sources: storages, container stores and credentials.

They are calls that can be made or printed, so that what a reader is told to type is what this package does
itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, cast

import icechunk
from icechunk import ObjectStoreConfig

from virtual_tiff.cube.stores import Location, anonymous, encode, env_flag, s3_endpoint, s3_region
from virtual_tiff.errors import UsageError


@dataclass(frozen=True, slots=True)
class Call:
    """A function of Icechunk by its dotted name, with keyword arguments, or a constant (None)."""

    name: str
    arguments: Mapping[str, Any] | None = field(default_factory=dict)

    def make(self) -> Any:
        """Call it, or return the constant."""
        found: Any = reduce(getattr, self.name.split("."), cast("Any", icechunk))
        return found if self.arguments is None else found(**self.arguments)

    def __str__(self) -> str:
        if self.arguments is None:
            return f"icechunk.{self.name}"
        return f"icechunk.{self.name}({', '.join(f'{key}={value!r}' for key, value in self.arguments.items())})"


def quiet_icechunk() -> None:
    """Let Icechunk log nothing, where that would stand beside the lines of a command.

    What fails is raised. It also logs errors of what is tried again, or only fetched ahead. The environment variable
    ICECHUNK_LOG asks for all that.
    """
    if not os.environ.get("ICECHUNK_LOG"):
        icechunk.set_logs_filter("off")


def repository_storage(place: Location) -> Call:
    """The Icechunk storage of a repository; http(s) can only be read."""
    prefix = place.path.strip("/")
    if place.scheme == "file":
        return Call("local_filesystem_storage", {"path": str(place.local)})
    if place.scheme in ("http", "https"):
        return Call("http_storage", {"base_url": place.root + encode(prefix)})
    bucket, _, account = place.root.split("/")[2].partition("@")
    signed = {"anonymous": True} if anonymous(place.scheme) else {"from_env": True}
    if place.scheme == "s3":
        return Call("s3_storage", {"bucket": bucket, "prefix": prefix, **_s3_options(), **signed})
    if place.scheme == "gs":
        return Call("gcs_storage", {"bucket": bucket, "prefix": prefix, **signed})
    account = azure_account(account, place.url)
    return Call("azure_storage", {"account": account, "container": bucket, "prefix": prefix, **signed})


def _s3_options() -> dict[str, Any]:
    options: dict[str, Any] = {}
    if region := s3_region():
        options["region"] = region
    if endpoint := s3_endpoint():
        options |= {
            "endpoint_url": endpoint,
            "allow_http": endpoint.startswith("http://"),
            "force_path_style": True,
        }
    if env_flag("AWS_REQUESTER_PAYS"):
        options["requester_pays"] = True
    return options


def azure_account(host: str, url: str) -> str:
    """The storage account out of ``container@account.dfs...``, else out of the environment.

    Raises
    ------
    UsageError
        ``usage`` when neither names it.
    """
    account = host.partition(".")[0] or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME", "")
    if not account:
        found = "the Azure storage account is not known"
        raise UsageError(found, feature="usage", url=url, hint="Set AZURE_STORAGE_ACCOUNT_NAME.")
    return account


def source_store(root: str, folder: str) -> Any:
    """The store configuration that is persisted for the sources below `folder`, a raw path inside `root`.

    It holds what a reader cannot know (endpoint, region, account) and no transport options: they stop
    browsers.
    """
    scheme = root.partition(":")[0]
    if scheme == "file":
        return icechunk.local_filesystem_store("/" + folder.rstrip("/"))
    if scheme in ("http", "https"):
        return icechunk.http_store()
    if scheme == "gs":
        return icechunk.gcs_store()
    if scheme == "az":
        account = azure_account(root.split("/")[2].partition("@")[2], root)
        return ObjectStoreConfig.Azure({"account": account})
    options = _s3_options()
    return icechunk.s3_store(s3_compatible="endpoint_url" in options, anonymous=anonymous("s3"), **options)


def source_credentials(prefix: str, store: object) -> Call:
    """The credentials that open a container: none for files and web servers, else from the environment.

    Buckets that were read without a signature, and all when the environment asks for it, are read without
    one.
    """
    scheme = prefix.partition(":")[0]
    if scheme == "file":
        return Call("credentials.LocalFileSystemAccess", None)
    if scheme in ("http", "https"):
        return Call("credentials.HttpAccess", None)
    kind = {"s3": "s3", "gs": "gcs", "gcs": "gcs"}.get(scheme, "azure")
    unsigned = anonymous({"gcs": "gs", "azure": "az"}.get(kind, kind)) or _read_unsigned(store)
    return Call(f"{kind}_{'anonymous' if unsigned else 'from_env'}_credentials")


def _read_unsigned(store: object) -> bool:
    if isinstance(store, ObjectStoreConfig.S3 | ObjectStoreConfig.S3Compatible):
        options: Any = getattr(store, "_0")  # noqa: B009 (the one field of the variant, which the stubs leave out)
        return bool(options.anonymous)
    return False
