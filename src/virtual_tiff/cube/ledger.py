"""The ledger of a scan: a Parquet file with a row per file, which grows while the scan runs.

A Parquet file cannot grow, so a scan writes parts into a folder beside it (``.NAME.parts``), each by a rename, and
joins them with the ledger at its end. Whatever kills a scan, its ledger is whole, and the parts of the next to
last moment are there: the next scan finds them and reads the rest. Rows of files that are gone are left out when the
parts are joined, so a scan that is killed leaves them, and the next one finds them again.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Self

import pyarrow as pa
import pyarrow.parquet as pq

from virtual_tiff.chunks import ChunkOptions
from virtual_tiff.cube.header import FileHeader, HeaderOptions
from virtual_tiff.cube.inputs import natural_key
from virtual_tiff.cube.results import Failure, Result, Scan
from virtual_tiff.cube.rows import SCHEMA, results_of, table_of
from virtual_tiff.cube.stores import Location
from virtual_tiff.errors import TargetError, UsageError

type _File = Path | pa.Buffer

VERSION: Final = 1
"""Of the columns."""

PART_FILES: Final = 256
PART_SECONDS: Final = 5.0
PART_BYTES: Final = 64 << 20
"""A part is written when so many files, seconds or bytes of references have come together."""

_KEY: Final = b"virtual_tiff"


class ScanLedger:
    """The ledger of a scan, open for writing; use it in a ``with`` statement.

    Parameters
    ----------
    path
        A Parquet file on a local disk, which may exist.
    options
        What is read of each file; a ledger that was made with others is refused.

    Raises
    ------
    UsageError
        ``usage`` when the file is no ledger, or one made with other options.
    TargetError
        ``target-denied`` when it cannot be written, or another scan is writing it.
    """

    def __init__(self, path: str | os.PathLike[str], options: HeaderOptions | None = None) -> None:
        self.path = ledger_path(path)
        self.options = options or HeaderOptions()
        self._parts = _parts_folder(self.path)
        self._waiting: dict[str, Result] = {}
        self._dropped: frozenset[str] = frozenset()
        self._bytes = 0
        self._written = time.monotonic()
        self._lock: int | None = None

    def __enter__(self) -> Self:
        with _writing(self.path):
            self._lock = _lock(self._parts / "lock", self.path)
            for killed in self._parts.glob("*.partial"):
                killed.unlink()
        try:
            there = ledger_options(self.path)
            if there is not None:
                check_options(there, self.options, str(self.path), hint="Scan into another ledger.")
        except BaseException:
            self._unlock()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.flush()
            self._join()
        finally:
            self._unlock()

    def _unlock(self) -> None:
        if self._lock is None:
            return
        if not _part_files(self.path):
            with contextlib.suppress(OSError):  # Windows removes no file that is open
                (self._parts / "lock").unlink()
                self._parts.rmdir()
        os.close(self._lock)
        self._lock = None

    def known(self, urls: Iterable[str]) -> dict[str, FileHeader]:
        """The headers of those files that were read before, by URL; no source is touched."""
        wanted = set(urls)
        found = _read_rows(_files(self.path), str(self.path), wanted)
        return {item.url: item for item in found if isinstance(item, FileHeader)}

    def urls(self) -> Iterator[str]:
        """The URLs of all files of the ledger; one may come several times."""
        for table in _tables(_files(self.path), str(self.path), columns=["url"]):
            yield from table["url"].to_pylist()

    def drop(self, urls: Iterable[str]) -> None:
        """Leave out the rows of files when the ledger is closed."""
        self._dropped |= frozenset(urls)

    def add(self, result: Result) -> None:
        """Keep a header or a failure; it is on disk after the next :meth:`flush`, which comes by itself.

        Raises
        ------
        UsageError
            ``usage`` for a URL with a query: a signature would be kept, and soon expire.
        TargetError
            ``target-denied`` when the part cannot be written.
        """
        if result.place.query:
            found = "a URL with a query (a signed URL?) cannot be kept in a ledger"
            raise UsageError(
                found, feature="usage", url=result.url.partition("?")[0], hint="Use s3://, gs:// or az://."
            )
        self._waiting[result.url] = result
        if isinstance(result, FileHeader):
            self._bytes += result.array.offsets.nbytes + result.array.lengths.nbytes
        late = time.monotonic() - self._written > PART_SECONDS
        if len(self._waiting) >= PART_FILES or self._bytes >= PART_BYTES or late:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting as a part."""
        if self._waiting:
            name = f"{time.time_ns():020}-{secrets.token_hex(4)}.parquet"
            with _writing(self.path):
                _write(self._parts / name, [table_of(self._waiting.values())], self.options, self._parts)
        self._waiting.clear()
        self._bytes = 0
        self._written = time.monotonic()

    def _join(self) -> None:
        """Join the parts with the ledger."""
        parts = _part_files(self.path)
        with _writing(self.path):
            if parts or self._dropped:
                rows = _newest(_files(self.path), str(self.path), without=self._dropped)
                _write(self.path, rows, self.options, self._parts)
            for part in parts:
                part.unlink()


def ledger_path(path: str | os.PathLike[str]) -> Path:
    """The place of a ledger.

    Raises
    ------
    UsageError
        ``usage`` for a URL: a ledger grows by renaming files, which object stores cannot do.
    """
    text = os.fspath(path)
    if "://" in text:
        found = "a ledger lies on a local disk"
        raise UsageError(found, feature="usage", url=text, hint="Name a local file, such as scan.parquet.")
    return Path(text).expanduser().absolute()


def read_ledger(path: str | os.PathLike[str]) -> Scan:
    """The headers and failures of a ledger, in the order in which they were read; no source is touched.

    Raises
    ------
    UsageError
        ``usage`` when the file is missing or is no ledger of this version.
    """
    place = ledger_path(path)
    if not _files(place):
        raise UsageError("there is no ledger", feature="usage", url=str(place), hint="Scan with ledger= first.")
    found = list(_read_rows(_files(place), str(place)))
    headers = tuple(item for item in found if isinstance(item, FileHeader))
    return Scan(headers, tuple(item for item in found if isinstance(item, Failure)), reused=len(headers))


def ledger_options(path: str | os.PathLike[str]) -> HeaderOptions | None:
    """What was read of each file of a ledger, or None when there is no ledger."""
    place = ledger_path(path)
    found = [_options(file, str(place)) for file in _files(place)]
    return found[-1] if found else None


@dataclass(frozen=True, slots=True)
class StoredScan:
    """A ledger that is an input: what it holds, in natural order of the files, and how that was read."""

    name: str
    options: HeaderOptions
    results: tuple[Result, ...]


def stored_scan(place: Location, content: bytes | None = None) -> StoredScan | None:
    """Read a ledger, or return None when a Parquet file is none; no source is touched.

    Parameters
    ----------
    place
        Where it is.
    content
        Its bytes, when it does not lie on a local disk.

    Raises
    ------
    UsageError
        ``usage`` when it is a ledger of another version, or damaged.
    """
    name = str(place.local or place.plain)
    files = (pa.py_buffer(content),) if content is not None else _files(Path(name))
    if not files or not _is_ours(files[0]):
        return None
    found = sorted(_read_rows(files, name), key=lambda item: natural_key(item.place.plain))
    return StoredScan(name, _options(files[-1], name), tuple(found))


def _is_ours(file: _File) -> bool:
    try:
        return _KEY in (pq.read_schema(file, memory_map=False).metadata or {})
    except (pa.ArrowException, OSError):
        return False


def _files(path: Path) -> tuple[_File, ...]:
    """The ledger and its parts, oldest first."""
    return (*[path] * path.is_file(), *_part_files(path))


def _options(file: _File, name: str) -> HeaderOptions:
    try:
        told = _told(pq.read_schema(file, memory_map=False), name)["options"]
        chunks = ChunkOptions(**told["chunks"])
        return HeaderOptions(ifd=tuple(told["ifd"]), chunks=chunks, overviews=told["overviews"])
    except (pa.ArrowException, OSError, KeyError, TypeError) as error:
        raise _no_ledger(name, str(error).partition("\n")[0]) from error


def check_options(there: HeaderOptions, asked: HeaderOptions, name: str, *, hint: str) -> None:
    """Refuse headers that were read with other options than those that are asked for.

    Raises
    ------
    UsageError
        ``usage``, with the options that differ.
    """
    old, new = asdict(there), asdict(asked)
    differing = sorted(key for key in new if old[key] != new[key])
    if differing:
        listed = ", ".join(f"{key}={old[key]}, not {new[key]}" for key in differing)
        if asked.overviews and not there.overviews:
            hint = f"Overviews and masks are in a ledger made by `scan --overviews`. {hint}"
        raise UsageError(f"the ledger was made with {listed}", feature="usage", url=name, hint=hint)


def _read_rows(files: Sequence[_File], name: str, urls: set[str] | None = None) -> Iterator[Result]:
    """The newest row of each file, or of those asked for."""
    for table in _newest(files, name, urls):
        yield from results_of(table)


def _newest(
    files: Sequence[_File], name: str, urls: set[str] | None = None, *, without: frozenset[str] = frozenset()
) -> Iterator[pa.Table]:
    """The tables of a ledger and its parts, each file's last row only: of all files, or of some, or but of some."""
    last: dict[str, int] = {}
    number = 0
    for table in _tables(files, name, columns=["url"]):
        for url in table["url"].to_pylist():
            last[url] = number
            number += 1
    first = 0
    for table in _tables(files, name):
        wanted = [
            index
            for index, url in enumerate(table["url"].to_pylist())
            if last[url] == first + index and (urls is None or url in urls) and url not in without
        ]
        first += table.num_rows
        if wanted:
            yield table.take(wanted) if len(wanted) < table.num_rows else table


def _tables(files: Sequence[_File], name: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The row groups of the ledger, then those of its parts, oldest first."""
    for file in files:
        try:
            with pq.ParquetFile(file, memory_map=False) as parquet:
                _told(parquet.schema_arrow, name)
                for group in range(parquet.num_row_groups):
                    table = parquet.read_row_group(group, columns=columns)
                    yield table if columns else _complete(table)
        except (pa.ArrowException, OSError) as error:
            raise _no_ledger(name, str(error).partition("\n")[0]) from error


def _complete(table: pa.Table) -> pa.Table:
    """A table with all columns: those that came later are null."""
    there = set(table.column_names)
    columns = [table[one.name] if one.name in there else pa.nulls(table.num_rows, one.type) for one in SCHEMA]
    return pa.table(columns, SCHEMA)


def _write(path: Path, tables: Iterable[pa.Table], options: HeaderOptions, folder: Path) -> None:
    """Write a Parquet file in the folder of the parts, and rename it when it is whole."""
    work = folder / f"{secrets.token_hex(4)}.partial"
    about = {"ledger": VERSION, "version": version("virtual-tiff"), "options": asdict(options)}
    schema = SCHEMA.with_metadata({_KEY: json.dumps(about).encode()})
    try:
        with work.open("wb") as file:
            with pq.ParquetWriter(file, schema, compression="zstd") as writer:
                for table in tables:
                    writer.write_table(table.replace_schema_metadata(schema.metadata))
            file.flush()
            os.fsync(file.fileno())
        work.replace(path)
    finally:
        work.unlink(missing_ok=True)


def _told(schema: pa.Schema, name: str) -> Mapping[str, Any]:
    """What a Parquet file says of itself."""
    try:
        about: Mapping[str, Any] = json.loads((schema.metadata or {})[_KEY])
        known = about["ledger"] == VERSION
    except (KeyError, ValueError, TypeError) as error:
        raise _no_ledger(name, "it was written by another program") from error
    if not known:
        raise _no_ledger(name, f"its version is {about['ledger']}, that of this program {VERSION}")
    return about


def _no_ledger(name: str, why: str) -> UsageError:
    found = f"the file is no ledger of a scan ({why})"
    return UsageError(found, feature="usage", url=name, hint="Name another file, or remove this one.")


def _parts_folder(path: Path) -> Path:
    return path.with_name(f".{path.name}.parts")


def _part_files(path: Path) -> list[Path]:
    return sorted(_parts_folder(path).glob("[0-9]*.parquet"))


def _lock(path: Path, ledger: Path) -> int:
    """Lock a file that no other process has locked; the lock ends with the process, however that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        import fcntl
    except ImportError:  # Windows
        return descriptor
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = path.exists() and os.fstat(descriptor).st_ino == path.stat().st_ino
    except BlockingIOError:
        ours = False
    if not ours:  # or its owner has just removed it
        os.close(descriptor)
        found = "another scan is writing this ledger"
        raise TargetError(found, feature="target-denied", url=str(ledger), hint="Wait for its end.")
    return descriptor


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn the refusals of the file system into ours."""
    try:
        yield
    except OSError as error:
        if isinstance(error, TargetError | UsageError):
            raise
        found = f"the ledger cannot be written ({error.strerror or error})"
        raise TargetError(found, feature="target-denied", url=str(path)) from error
