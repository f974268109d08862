"""Processes that publish or append, to be killed at any moment.

``python -m tests.crash_worker`` imports what is slow to import, and then makes one child after the other, each by a
fork: a child imports the rest (Icechunk starts threads at its import, which no fork survives), prints a line with
"ready" and its number, reads one line of JSON (task, inputs, cube, group, batch, environment, further options of
publish), and prints what went wrong as JSON, or "done". When a child has ended in any way, a line says "gone" and its
number. So the kill hits the work, and not the imports.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import warnings
from typing import Final

SLOW: Final = ("numpy", "pandas", "xarray", "zarr", "obstore.store", "pyproj", "imagecodecs", "pyarrow", "affine")


def main() -> None:
    """Make children until nothing more is asked."""
    for name in SLOW:
        importlib.import_module(name)
    assert "icechunk" not in sys.modules
    warnings.simplefilter("ignore", DeprecationWarning)  # numpy's threads are idle
    status = 0
    while status != _END:
        child = os.fork()
        if child == 0:
            os._exit(work())
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(f"gone {child}", flush=True)


_END: Final = 3


def work() -> int:
    """Do one task; returns the status with which the child ends."""
    from virtual_tiff.cube.access import quiet_icechunk
    from virtual_tiff.cube.append import append
    from virtual_tiff.cube.publish import publish
    from virtual_tiff.errors import VirtualTiffError

    print(f"ready {os.getpid()}", flush=True)
    line = sys.stdin.readline()
    if not line:
        return _END
    order = json.loads(line)
    os.environ.update(order["environment"])
    quiet_icechunk()
    said = "done"
    try:
        if order["task"] == "publish":
            into = bool(order["group"])
            where = {"group": order["group"], "into": into, "batch": order["batch"]}
            publish([order["inputs"]], order["cube"], **where, **order["options"])
        else:
            append([order["inputs"]], order["cube"], group=order["group"], batch=order["batch"])
    except VirtualTiffError as error:
        said = str(error)
    except Exception as error:  # noqa: BLE001 (whatever it is, the test shall show it)
        said = f"unexpected {error!r}"
    print(json.dumps(said), flush=True)
    return 0


if __name__ == "__main__":
    main()
