"""The compiled kernels against sums by numpy, and what happens where they are missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hatch_build import COMPILERS, LIBRARY, SOURCES, compile_library
from virtual_tiff.codecs import compiled

ROOT = Path(__file__).parent.parent
GUARD = 64

type Octets = npt.NDArray[np.uint8]

HAS_COMPILER = any(map(shutil.which, COMPILERS)) and os.environ.get("VIRTUAL_TIFF_COMPILE") != "0"
needs_kernels = pytest.mark.skipif(compiled.KERNELS is None, reason="there was no C compiler when this was installed")


@pytest.mark.skipif(not HAS_COMPILER, reason="there is no C compiler")
def test_installed_where_there_is_a_compiler() -> None:
    assert compiled.KERNELS is not None


def guarded(rows: int, row_bytes: int, seed: int) -> tuple[Octets, Octets]:
    """Random rows between bytes that nobody may touch: all of the memory, and the rows in it."""
    memory = np.random.default_rng(seed).integers(0, 256, rows * row_bytes + 2 * GUARD, np.uint8)
    return memory, memory[GUARD:-GUARD].reshape(rows, row_bytes)


def sums(rows: Octets, width: int, distance: int, *, big: bool) -> Octets:
    """What the kernels are to return, by numpy."""
    words = rows.view(f"{'>' if big else '<'}u{width}").astype(f"<u{width}")
    for first in range(distance // width):
        part = words[:, first :: distance // width]
        part[...] = np.cumsum(part, axis=1, dtype=words.dtype)
    return words.view(np.uint8)


def joined(rows: Octets, width: int) -> Octets:
    """Little-endian samples from planes of bytes, by numpy."""
    planes = rows.reshape(rows.shape[0], width, -1)
    return np.moveaxis(planes[:, ::-1], 1, 2).reshape(rows.shape)


@needs_kernels
@settings(max_examples=600, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 90)),
    width=st.sampled_from([1, 2, 4, 8]),
    apart=st.integers(1, 40),
    big=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_sums_in_every_width_distance_and_order(
    shape: tuple[int, int], width: int, apart: int, big: bool, seed: int
) -> None:
    assert compiled.KERNELS is not None
    memory, block = guarded(shape[0], shape[1] * width, seed)
    expected = memory.copy()
    big = big and width > 1
    expected[GUARD:-GUARD] = sums(block, width, apart * width, big=big).reshape(-1)
    assert compiled.KERNELS.horizontal(block, width, apart * width, big=big)
    np.testing.assert_array_equal(memory, expected)


@needs_kernels
@settings(max_examples=600, deadline=None)
@given(
    rows=st.integers(1, 5),
    samples=st.integers(1, 150),
    width=st.sampled_from([2, 3, 4, 8]),
    distance=st.integers(1, 40),
    seed=st.integers(0, 2**32),
)
def test_samples_from_planes_of_differences(rows: int, samples: int, width: int, distance: int, seed: int) -> None:
    assert compiled.KERNELS is not None
    memory, block = guarded(rows, samples * width, seed)
    output, out = guarded(rows, samples * width, seed + 1)
    expected, expected_output = memory.copy(), output.copy()
    expected[GUARD:-GUARD] = sums(block, 1, distance, big=False).reshape(-1)
    summed = expected[GUARD:-GUARD].reshape(block.shape)
    expected_output[GUARD:-GUARD] = joined(summed, width).reshape(-1)
    assert compiled.KERNELS.floating_point(block, out, width, distance)
    np.testing.assert_array_equal(output, expected_output)
    np.testing.assert_array_equal(memory, expected)


@needs_kernels
@settings(max_examples=600, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 70)),
    depth=st.integers(1, 32),
    wide=st.booleans(),
    signed=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_samples_of_any_number_of_bits(shape: tuple[int, int], depth: int, wide: bool, signed: bool, seed: int) -> None:
    assert compiled.KERNELS is not None
    rows, count = shape
    width = 4 if wide or depth > 16 else 2
    _, packed = guarded(rows, -(-count * depth // 8), seed)
    packed.flags.writeable = False
    bits = np.unpackbits(packed, axis=1)[:, : count * depth].reshape(rows, count, depth).astype(np.int64)
    weights = 2 ** np.arange(depth, dtype=np.int64)[::-1]
    if signed:
        weights[0] *= -1
    expected = (bits @ weights).astype(f"<i{width}").view(np.uint8)
    memory, out = guarded(rows, count * width, seed + 1)
    untouched = memory.copy()
    untouched[GUARD:-GUARD] = expected.reshape(-1)
    assert compiled.KERNELS.bits(packed, out.view(f"<u{width}"), depth, signed=signed)
    np.testing.assert_array_equal(memory, untouched)


@needs_kernels
@settings(max_examples=600, deadline=None)
@given(
    pixels=st.integers(1, 600),
    samples=st.integers(1, 40),
    width=st.sampled_from([1, 2, 3, 4, 5, 8, 16]),
    seed=st.integers(0, 2**32),
)
def test_samples_are_taken_apart(pixels: int, samples: int, width: int, seed: int) -> None:
    assert compiled.KERNELS is not None
    _, interleaved = guarded(1, pixels * samples * width, seed)
    memory, out = guarded(1, pixels * samples * width, seed + 1)
    before = memory.copy()
    compiled.KERNELS.planes(interleaved[0], out[0], samples, width)
    expected = interleaved.reshape(pixels, samples, width).swapaxes(0, 1)
    np.testing.assert_array_equal(out.reshape(samples, pixels, width), expected)
    before[GUARD:-GUARD] = out[0]
    np.testing.assert_array_equal(memory, before)


@needs_kernels
@pytest.mark.parametrize(("size", "out"), [(10, 10), (12, 24), (12, 6)])
def test_pixels_that_are_not_whole_or_have_no_room_are_refused(size: int, out: int) -> None:
    assert compiled.KERNELS is not None
    with pytest.raises(ValueError, match=f"{out} bytes of memory for {size} of pixels of 3 x 2"):
        compiled.KERNELS.planes(np.zeros(size, np.uint8), np.zeros(out, np.uint8), 3, 2)


@needs_kernels
@pytest.mark.parametrize("size", [1 << 10, 1 << 20])
def test_large_blocks_let_other_threads_run_and_return_the_same(size: int) -> None:
    assert compiled.KERNELS is not None
    _, block = guarded(size // 256, 256, 1)
    expected = sums(block, 2, 2, big=False)
    assert compiled.KERNELS.horizontal(block, 2, 2, big=False)
    np.testing.assert_array_equal(block, expected)


@needs_kernels
def test_other_widths_and_distances_are_left_alone() -> None:
    assert compiled.KERNELS is not None
    memory, block = guarded(3, 24, 0)
    before, out = memory.copy(), np.zeros_like(block)
    assert not compiled.KERNELS.horizontal(block, 3, 3, big=False)
    assert not compiled.KERNELS.horizontal(block, 2, 3, big=False)
    assert not compiled.KERNELS.horizontal(block, 4, 17, big=True)
    assert not compiled.KERNELS.horizontal(block, 1, 0, big=False)
    assert not compiled.KERNELS.floating_point(block, out, 5, 1)
    assert not compiled.KERNELS.floating_point(block, out, 4, 0)
    assert not compiled.KERNELS.bits(block, out, 8, signed=False)
    assert not compiled.KERNELS.bits(block, out.view("<u2"), 17, signed=False)
    assert not compiled.KERNELS.bits(block[:, :1].copy(), out.view("<u2"), 9, signed=False)
    np.testing.assert_array_equal(memory, before)
    assert not out.any()


@needs_kernels
def test_memory_that_is_no_block_is_refused() -> None:
    assert compiled.KERNELS is not None
    _, block = guarded(4, 32, 0)
    with pytest.raises(TypeError, match="contiguous"):
        compiled.KERNELS.horizontal(block[:, ::2], 1, 1, big=False)
    with pytest.raises(TypeError, match="contiguous"):
        compiled.KERNELS.bits(block[:, ::2], np.empty((4, 2), "<u2"), 12, signed=False)
    block.flags.writeable = False
    with pytest.raises(TypeError, match="not writable"):
        compiled.KERNELS.horizontal(block, 1, 1, big=False)


def test_a_library_that_is_none_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / LIBRARY.name
    monkeypatch.setattr(compiled, "LIBRARY", other)
    assert compiled.load() is None
    other.write_bytes(b"no library")
    assert compiled.load() is None
    other.unlink()
    other.mkdir()
    assert compiled.load() is None


@needs_kernels
def test_a_library_that_was_written_in_part_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, other = compiled.LIBRARY.read_bytes(), tmp_path / LIBRARY.name
    if whole[:4] != b"\x7fELF":
        pytest.skip("is checked for ELF files only")
    monkeypatch.setattr(compiled, "LIBRARY", other)
    for size in (0, 50, 4096, len(whole) // 2, len(whole) - 1):
        other.write_bytes(whole[:size])
        assert compiled.load() is None


@needs_kernels
def test_a_library_of_another_version_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compiled.load() is not None
    monkeypatch.setattr(compiled, "VERSION", compiled.VERSION + 1)
    assert compiled.load() is None


@needs_kernels
def test_a_library_without_a_function_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = compiled.LIBRARY.read_bytes()
    other = tmp_path / LIBRARY.name
    other.write_bytes(whole.replace(b"virtual_tiff_bits", b"virtual_tiff_bats"))
    monkeypatch.setattr(compiled, "LIBRARY", other)
    assert compiled.load() is None


# The build


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"VIRTUAL_TIFF_COMPILE": "0"}, "VIRTUAL_TIFF_COMPILE is 0"),
        ({"CC": "no-such-compiler -m64"}, "no-such-compiler"),
        ({"CC": f"{sys.executable} -c exit(3)"}, "exit status 3"),
        ({"CC": f"{sys.executable} -c 0"}, "exit status 0"),
        ({"CC": f"{sys.executable} -c __import__('os').write(2,b'\\xff')"}, "\N{REPLACEMENT CHARACTER}"),
        ({"CC": "", "PATH": ""}, "there is no C compiler"),
    ],
)
def test_a_build_that_cannot_compile_says_why_and_leaves_no_older_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], reason: str
) -> None:
    library = tmp_path / LIBRARY.name
    library.write_bytes(b"of an older build")
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert reason in (compile_library(ROOT / SOURCES, library) or "")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Set up a compiler that is a shell script; "$output" is what it is to write."""

    def set_up(script: str) -> None:
        file = tmp_path / "compiler"
        file.write_text(f"#!/bin/sh\nfor output; do :; done\n{script}\n", encoding="utf-8")
        file.chmod(0o755)
        monkeypatch.setenv("CC", str(file))

    return set_up


def test_a_compiler_that_hangs_is_left_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: Callable[[str], None]
) -> None:
    """Also when what it has started goes on and holds its output open."""
    monkeypatch.setattr("hatch_build.SECONDS", 1)
    compiler(f"(sleep 8; : > {tmp_path}/end) & wait")
    assert "timed out" in (compile_library(ROOT / SOURCES, tmp_path / LIBRARY.name) or "")
    assert not (tmp_path / "end").exists()


@pytest.mark.parametrize("blocked", ["a folder", "no folder", "no sources"])
def test_a_place_that_cannot_be_written_is_no_error(
    tmp_path: Path, blocked: str, compiler: Callable[[str], None]
) -> None:
    compiler('echo kernels > "$output"')
    library = tmp_path / "codecs" / LIBRARY.name
    if blocked == "a folder":
        library.mkdir(parents=True)
    assert compile_library(ROOT / ("none" if blocked == "no sources" else SOURCES), library)
    assert library.is_dir() == (blocked == "a folder")


def test_a_library_that_would_be_the_same_is_not_written_anew(tmp_path: Path, compiler: Callable[[str], None]) -> None:
    """Else uv, which looks at its time, would build for each command; another one takes its place."""
    library = tmp_path / "codecs" / LIBRARY.name
    library.parent.mkdir()
    nodes = []
    for text in ("kernels", "kernels", "others"):
        compiler(f'echo {text} > "$output"')
        assert compile_library(ROOT / SOURCES, library) is None
        assert library.read_text(encoding="utf-8") == f"{text}\n"
        nodes.append((library.stat().st_ino, library.stat().st_ctime_ns))
    assert nodes[0] == nodes[1] != nodes[2]
    assert list(library.parent.iterdir()) == [library]


@pytest.mark.parametrize("compiles", [pytest.param(True, marks=needs_kernels), False])
def test_wheels_hold_the_kernels_or_are_for_every_platform(tmp_path: Path, compiles: bool) -> None:
    """Built from a copy, in which an older build left a library."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    for folder in ("native", "src"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", LIBRARY.name))
    (copy / LIBRARY).write_bytes(b"of an older build")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=copy, check=True, capture_output=True, env={**os.environ, "VIRTUAL_TIFF_COMPILE": str(int(compiles))},
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        kernels = [opened.read(name) for name in opened.namelist() if "_kernels" in name]
    assert len(kernels) == compiles
    assert b"of an older build" not in kernels
    assert (copy / LIBRARY).read_bytes() == b"of an older build"
    assert wheel.name.endswith("-py3-none-any.whl") != compiles
