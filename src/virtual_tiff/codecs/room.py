"""Memory for many decoded segments that are kept until the last of them has come."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

type Octets = npt.NDArray[np.uint8]

BLOCK_BYTES: Final = 1 << 25
_ALIGNED: Final = 64


class Room:
    """Memory for results that are kept together, in a few large blocks: clearing many small ones takes far longer.

    Parameters
    ----------
    size
        Bytes of a result.
    count
        How many there are at most.
    """

    def __init__(self, size: int, count: int) -> None:
        self._size, self._left = size, count
        self._step = -(-size // _ALIGNED) * _ALIGNED
        self._block, self._at = np.empty(0, np.uint8), 0

    def take(self) -> Octets:
        """Return memory for a result; a block goes when all that was taken from it has gone."""
        if self._at == self._block.size:
            count = max(1, min(self._left, BLOCK_BYTES // self._step))
            self._block, self._at = np.empty(count * self._step, np.uint8), 0
        taken = self._block[self._at : self._at + self._size]
        self._at += self._step
        self._left -= 1
        return taken
