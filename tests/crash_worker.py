"""A process that publishes or appends, to be killed: it imports first, so that the kill hits the work.

``python -m tests.crash_worker`` prints a line when it is ready, reads one line of JSON (task, inputs, cube,
environment), and prints what went wrong, or "done".
"""

from __future__ import annotations

import json
import os
import sys

from virtual_tiff.cube.access import quiet_icechunk
from virtual_tiff.cube.append import append
from virtual_tiff.cube.publish import publish
from virtual_tiff.errors import VirtualTiffError


def main() -> None:
    """Do what is asked."""
    print("ready", flush=True)
    order = json.loads(sys.stdin.readline())
    os.environ.update(order["environment"])
    quiet_icechunk()
    try:
        if order["task"] == "publish":
            publish([order["inputs"]], order["cube"], batch=100)
        else:
            append([order["inputs"]], order["cube"], batch=50)
    except VirtualTiffError as error:
        print(error, flush=True)
    else:
        print("done", flush=True)


if __name__ == "__main__":
    main()
