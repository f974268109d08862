from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from obspec_utils.wrappers import CachingReadableStore
from obstore.store import MemoryStore

from tests.stores import CountingStore
from tests.tiffbytes import build, image
from virtual_tiff.tiff.forks import needs_threads

FORKED = """
import os, signal, sys
from obstore.store import LocalStore, MemoryStore
from tests.stores import CountingStore
from virtual_tiff.errors import SourceError
from virtual_tiff.tiff.source import Source, read_tiff

read_tiff(Source(LocalStore(sys.argv[1]), "a.tif", "x"))
process = os.fork()
if process == 0:
    signal.alarm(20)
    for store in (LocalStore(sys.argv[1]), CountingStore(LocalStore(sys.argv[1]))):
        try:
            read_tiff(Source(store, "a.tif", "x"))
        except SourceError as error:
            if error.feature != "forked":
                os._exit(1)
        else:
            os._exit(2)
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(build([image()]).data)
    root = Path(__file__).parent.parent
    command = [sys.executable, "-c", FORKED, str(tmp_path)]
    subprocess.run(command, check=True, cwd=root, timeout=60)


def test_stores_of_obstore_are_known_inside_wrappers() -> None:
    store = MemoryStore()
    assert needs_threads(store)
    assert needs_threads(CountingStore(CachingReadableStore(store)))
    assert not needs_threads(object())
