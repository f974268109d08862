"""Time our decoding of segments against the bare decompressor and against tifffile's own decoding.

Prints, per encoding, milliseconds and two ratios: to the decompressor alone, writing into a reused buffer
(goal: at most 1.5), and to ``TiffPage.decode`` of the same segment (goal: at most 1.0). Contenders take
turns, and of each the fastest run counts.
"""

from __future__ import annotations

import argparse
import io
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import tifffile

from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.codecs.segment import decode_segment

SIDE = 512
BARE: dict[int, Callable[..., Any]] = {
    5: imagecodecs.lzw_decode,
    8: imagecodecs.deflate_decode,
    50000: imagecodecs.zstd_decode,
    32773: imagecodecs.packbits_decode,
    34925: imagecodecs.lzma_decode,
}
CASES: list[tuple[str, int, str | None, int | None, str]] = [
    *[
        (dtype, samples, compression, predictor, order)
        for compression in ("zlib", "lzw", "zstd")
        for dtype, samples, predictor, order in [
            ("u1", 1, 2, "<"), ("u1", 3, 2, "<"), ("u2", 1, None, "<"), ("u2", 1, None, ">"),
            ("u2", 1, 2, "<"),
            ("u2", 1, 2, ">"), ("u2", 4, 2, "<"), ("u4", 1, 2, "<"), ("u8", 1, 2, "<"), ("f2", 1, 3, "<"),
            ("f4", 1, 3, "<"), ("f4", 1, 3, ">"), ("f4", 3, 3, "<"), ("f8", 1, 3, "<"),
        ]
    ],
    ("u2", 1, "packbits", None, "<"),
    ("u2", 1, "lzma", 2, "<"),
    ("u2", 1, None, None, ">"),
]  # fmt: skip


@dataclass(frozen=True)
class Timing:
    """Seconds of the fastest run of each contender."""

    ours: float
    bare: float | None
    tifffile: float


def picture(dtype: str, samples: int, *, noisy: bool) -> npt.NDArray[Any]:
    """Return terrain-like samples: smooth, with a little noise, as (row, column, sample)."""
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(SIDE, SIDE, samples))
    surface = np.cumsum(np.cumsum(steps, axis=0), axis=1) / 40 + rng.normal(size=steps.shape)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        # mantissas full of noise are the worst case: ZSTD then hardly does more than copy
        surface = (surface if noisy else np.round(surface * 16) / 16).astype(kind)
    else:
        surface = (surface - surface.min()).astype("u8").astype(kind)
    return surface if samples > 1 else surface[..., 0]


def fastest(contenders: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Run the contenders in turns for so many seconds, and return the fastest run of each."""
    best = dict.fromkeys(contenders, float("inf"))
    order = list(contenders.items())
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        random.shuffle(order)
        for name, run in order:
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def measure(
    image: npt.NDArray[Any], compression: str | None, predictor: int | None, order: Any, seconds: float
) -> Timing:
    """Write the image as one tile, and time its decoding."""
    stream = io.BytesIO()
    tifffile.imwrite(
        stream,
        image,
        tile=(SIDE, SIDE),
        compression=compression,
        predictor=predictor,
        byteorder=order,
        photometric="minisblack",
        planarconfig="contig" if image.ndim == 3 else None,
        metadata=None,
    )
    stream.seek(0)
    with tifffile.TiffFile(stream) as tiff:
        page = tiff.pages.first
        config = SegmentConfig(
            compression=int(page.compression),
            columns=SIDE,
            rows=SIDE,
            samples=page.samplesperpixel,
            bits_per_sample=(8 * image.itemsize,),
            sample_format=int(page.sampleformat),
            byte_order="big" if order == ">" else "little",
            predictor=predictor or 1,
        )
        segment = stream.getvalue()[page.dataoffsets[0] :][: page.databytecounts[0]]
        decoded = decode_segment(segment, config).view(image.dtype.newbyteorder("<"))
        assert np.array_equal(decoded.reshape(image.shape), image)
        native = image.dtype.newbyteorder("=")
        buffer = memoryview(np.empty(image.nbytes, np.uint8))
        contenders: dict[str, Callable[[], object]] = {
            "ours": lambda: decode_segment(segment, config),
            "tifffile": lambda: np.asarray(page.decode(segment, 0)[0], native),
        }
        bare = BARE.get(config.compression)
        if bare is not None:
            contenders["bare"] = lambda: bare(segment, out=buffer)
        best = fastest(contenders, seconds)
    return Timing(best["ours"], best.get("bare"), best["tifffile"])


def main() -> None:
    """Print a line per encoding, and the worst ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="time per encoding")
    seconds = parser.parse_args().seconds
    heading = f"one tile of {SIDE} x {SIDE} pixels"
    print(f"{heading:37}     ours     bare tifffile | ours/bare ours/tifffile")
    worst = dict.fromkeys(("bare", "tifffile"), 0.0)
    cases = [(*case, True) for case in CASES] + [(*case, False) for case in CASES if case[3] == 3]
    for dtype, samples, compression, predictor, order, noisy in cases:
        image = picture(dtype, samples, noisy=noisy)
        timing = measure(image, compression, predictor, order, seconds)
        name = f"{compression or 'none':8} {order}{dtype} x{samples} predictor {predictor or 1}"
        name += "" if noisy else " smooth"
        to_tifffile = timing.ours / timing.tifffile
        worst["tifffile"] = max(worst["tifffile"], to_tifffile)
        bare, to_bare = f"{'-':>8}", f"{'-':>9}"
        if timing.bare is not None:
            bare, to_bare = f"{timing.bare * 1e3:8.3f}", f"{timing.ours / timing.bare:9.2f}"
            worst["bare"] = max(worst["bare"], timing.ours / timing.bare)
        ours, theirs = f"{timing.ours * 1e3:8.3f}", f"{timing.tifffile * 1e3:8.3f}"
        print(f"{name:37} {ours} {bare} {theirs} | {to_bare} {to_tifffile:13.2f}")
    print(f"worst: {worst['bare']:.2f} to the bare decompressor (goal 1.5)")
    print(f"worst: {worst['tifffile']:.2f} to tifffile (goal 1.0)")


if __name__ == "__main__":
    main()
