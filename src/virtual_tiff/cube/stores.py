"""From a path or URL to an obstore store: local files, s3://, gs://, az:// and http(s)://.

Credentials and options come from the environment, as obstore documents them: ``AWS_*``, ``GOOGLE_*``,
``AZURE_*``. ``AWS_SKIP_SIGNATURE=true`` reads public buckets, ``AWS_ENDPOINT_URL`` names another S3 server.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote, urlsplit

from obstore.store import AzureStore, GCSStore, HTTPStore, LocalStore, S3Store

from virtual_tiff.cube.runner import begin_threads
from virtual_tiff.errors import UsageError

if TYPE_CHECKING:  # obstore has these names for type checkers only
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

OBJECT_STORES: Final = ("s3", "gs", "az")
"""Schemes of stores that list their objects and give each a reliable ETag."""

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SCHEMES: Final = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gs",
    "gcs": "gs",
    "az": "az",
    "azure": "az",
    "abfs": "az",
    "abfss": "az",
    "http": "http",
    "https": "https",
    "file": "file",
}
_RETRY: Final[RetryConfig] = {"max_retries": 6, "retry_timeout": timedelta(seconds=60)}
_TIMES: Final[ClientConfig] = {"connect_timeout": "10s", "timeout": "60s"}
"""For a connection, and for one request with its answer: longer than any small part of a file takes."""

_ENVIRONMENT: Final = ("AWS_", "GOOGLE_", "AZURE_")
_TRUE: Final = {"1", "true", "yes", "on"}


@dataclass(frozen=True, slots=True)
class Location:
    """Where an object or a prefix is.

    ``url`` is canonical: percent-encoded for ``file`` and ``http(s)``, the raw key for object stores, as
    their own tools write it. ``path`` is the raw path inside ``store``; ``root`` is the URL of the store's
    top, with a slash at its end.
    """

    url: str
    root: str
    path: str
    query: str = ""
    store: ObjectStore = field(compare=False, repr=False, kw_only=True)

    @property
    def scheme(self) -> str:
        """One of file, s3, gs, az, http, https."""
        return self.root.partition(":")[0]

    @property
    def plain(self) -> str:
        """The URL without percent-encoding: for people, and to sort by."""
        return self.root + self.path

    @property
    def local(self) -> Path | None:
        """The path of a local file, or None."""
        return Path("/" + self.path) if self.scheme == "file" else None

    def sibling(self, path: str) -> Location:
        """Another object of the same store."""
        return Location(canonical(self.root, path), self.root, path, store=self.store)


def encode(path: str) -> str:
    """Percent-encode a raw path for use in a reference."""
    return quote(path, safe="/~")


def canonical(root: str, path: str) -> str:
    """The canonical URL of a raw path below a root."""
    return root + (path if root.partition(":")[0] in OBJECT_STORES else encode(path))


def env_flag(*names: str) -> bool:
    """Whether any of these environment variables is set to a true value."""
    return any(os.environ.get(name, "").strip().lower() in _TRUE for name in names)


def s3_endpoint() -> str | None:
    """The S3 server that the environment names, or None for AWS."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"):
        if os.environ.get(name):
            return os.environ[name]
    return None


def s3_region() -> str | None:
    """The region that the environment names."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")


def anonymous(scheme: str) -> bool:
    """Whether the environment asks for unsigned requests."""
    names = {
        "s3": ("AWS_SKIP_SIGNATURE", "AWS_NO_SIGN_REQUEST"),
        "gs": ("GOOGLE_SKIP_SIGNATURE", "GS_NO_SIGN_REQUEST"),
        "az": ("AZURE_SKIP_SIGNATURE", "AZURE_NO_SIGN_REQUEST"),
    }
    return env_flag(*names.get(scheme, ()))


def locate(target: str | os.PathLike[str]) -> Location:
    """Find the store of a path or URL. Nothing is read.

    Parameters
    ----------
    target
        A path without a scheme names the file of exactly this name, whatever is in it: ``a#1 50%.tif``. In a
        ``file://`` or ``http(s)://`` URL the path is percent-encoded where it has to be: ``%23`` is ``#``, ``%3F`` is
        ``?`` and ``%25`` is ``%``. The keys of object stores stand in their URLs as they are, nothing is decoded.

    Raises
    ------
    UsageError
        ``usage`` when the scheme is unknown or the URL names no bucket or host; for a ``file://`` URL with a host, or
        with ``#`` or ``?``, which are no part of a path there; for a name that is no UTF-8.
    SourceError
        ``forked`` in a process that was forked after storage threads had started.
    """
    begin_threads()
    text = os.fspath(target)
    match = _SCHEME.match(text)
    if match is None:
        return _locate_file(os.path.abspath(os.path.expanduser(text)))  # noqa: PTH100, PTH111 (keeps symlinks and "//")
    scheme = _SCHEMES.get(match.group(1).lower())
    if scheme is None:
        found = f"the scheme {match.group(1)}:// is not known"
        raise UsageError(found, feature="usage", url=text, hint="Known are local paths, file, s3, gs, az and http(s).")
    if scheme == "file":
        return _locate_file(_path_of_file(text, text[match.end() :]))
    if scheme in OBJECT_STORES:
        return _locate_object(scheme, text, text[match.end() :])
    return _locate_http(scheme, text)


def split_url(url: str) -> tuple[str, str]:
    """Take a URL apart into its root, with a slash at its end, and the raw path behind it, as :func:`locate` does.

    Other schemes than those that are known will do; their paths are not decoded.

    Raises
    ------
    UsageError
        ``usage`` for a path without a scheme.
    """
    match = _SCHEME.match(url)
    if match is None:
        found = "a store was passed with a URL that has no scheme"
        raise UsageError(found, feature="usage", url=url, hint="Write s3://bucket/key, https://host/path, ...")
    scheme, rest = match[1].lower(), url[match.end() :]
    if scheme == "file":
        return "file:///", _path_of_file(url, rest).lstrip("/")
    host, _, path = rest.partition("/")
    web = scheme in ("http", "https")
    return f"{match[0]}{host}/", unquote(re.split("[?#]", path, maxsplit=1)[0]) if web else path


def _path_of_file(url: str, rest: str) -> str:
    """The path of a ``file://`` URL; `rest` is what follows the scheme."""
    host, _, path = rest.partition("/")
    if host not in ("", "localhost"):
        hint = "An absolute path has three slashes: file:///folder/a.tif. Or write the path without file://."
        raise UsageError(f"the URL of a file names the host {host!r}", feature="usage", url=url, hint=hint)
    if mark := re.search("[?#]", path):
        found = f"the URL of a file has {mark[0]!r} in it, where a path ends"
        hint = "Encode it (%3F is ?, %23 is #), or write the path without file://."
        raise UsageError(found, feature="usage", url=url, hint=hint)
    return "/" + unquote(path)


def _locate_file(path: str) -> Location:
    raw = Path(path).as_posix().lstrip("/")
    try:
        url = "file:///" + encode(raw)
    except UnicodeEncodeError as error:
        shown = os.fsencode(path).decode(errors="backslashreplace")
        raise UsageError("the name of the file is no UTF-8", feature="usage", url=shown, hint="Rename it.") from error
    return Location(url, "file:///", raw, store=_cached(LocalStore, (), ()))


def _locate_object(scheme: str, text: str, rest: str) -> Location:
    host, _, key = rest.partition("/")
    bucket, _, account = host.partition("@")
    if not bucket:
        found = "the URL names no bucket"
        raise UsageError(found, feature="usage", url=text, hint=f"Write {scheme}://bucket/path.")
    root = f"{scheme}://{host}/"
    if scheme == "s3":
        store = _store(_s3_store, bucket)
    elif scheme == "gs":
        store = _store(_gcs_store, bucket)
    else:
        store = _store(_azure_store, bucket, account.partition(".")[0])
    return Location(root + key, root, key, store=store)


def _locate_http(scheme: str, text: str) -> Location:
    parts = urlsplit(text)
    if not parts.hostname:
        raise UsageError("the URL names no host", feature="usage", url=text)
    root = f"{scheme}://{parts.netloc}/"
    path = unquote(parts.path.lstrip("/"))
    store = _store(_http_store, root, parts.query)
    url = canonical(root, path)
    return Location(f"{url}?{parts.query}" if parts.query else url, root, path, parts.query, store=store)


def _store(make: Callable[..., ObjectStore], *arguments: str) -> ObjectStore:
    """One store for each bucket or host, as long as the environment stays the same."""
    environment = tuple(sorted(item for item in os.environ.items() if item[0].startswith(_ENVIRONMENT)))
    return _cached(make, arguments, environment)


@lru_cache(maxsize=256)
def _cached(
    make: Callable[..., ObjectStore], arguments: tuple[str, ...], _environment: tuple[tuple[str, str], ...]
) -> ObjectStore:
    return make(*arguments)


def _client(url: str | None) -> ClientConfig:
    options: ClientConfig = {**_TIMES}
    if url is not None and url.startswith("http://"):
        options["allow_http"] = True
    return options


def _s3_store(bucket: str) -> ObjectStore:
    config: dict[str, Any] = {}
    if endpoint := s3_endpoint():
        config["endpoint"] = endpoint
    if region := s3_region():
        config["region"] = region
    if anonymous("s3"):
        config["skip_signature"] = True
    return S3Store(
        bucket,
        client_options=_client(s3_endpoint()),
        retry_config=_RETRY,
        credential_provider=None if config.get("skip_signature") else _profile_credentials(),
        **config,
    )


def _profile_credentials() -> Any:
    """Credentials of an AWS profile, when boto3 is installed and no key stands in the environment."""
    if os.environ.get("AWS_ACCESS_KEY_ID") or not os.environ.get("AWS_PROFILE"):
        return None
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        return None
    return Boto3CredentialProvider()


def _gcs_store(bucket: str) -> ObjectStore:
    config: dict[str, Any] = {"skip_signature": True} if anonymous("gs") else {}
    return GCSStore(bucket, client_options=_client(None), retry_config=_RETRY, **config)


def _azure_store(container: str, account: str) -> ObjectStore:
    config: dict[str, Any] = {"account_name": account} if account else {}
    if anonymous("az"):
        config["skip_signature"] = True
    endpoint = os.environ.get("AZURE_STORAGE_ENDPOINT")
    return AzureStore(container, client_options=_client(endpoint), retry_config=_RETRY, **config)


def _http_store(root: str, query: str) -> ObjectStore:
    url = f"{root}?{query}" if query else root
    return HTTPStore(url, client_options=_client(root), retry_config=_RETRY)
