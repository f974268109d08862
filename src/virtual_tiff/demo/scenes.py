"""A landscape that changes over a season: fields, a river, clouds. Made of noise, the same each time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

HEIGHT: Final = 700
WIDTH: Final = 900
DATES: Final = ("2024-04-12", "2024-05-17", "2024-06-21", "2024-07-26", "2024-08-30", "2024-10-04")
BANDS: Final = ("blue", "green", "red", "near infrared")
NODATA: Final = 0
SWATH: Final = 300
"""Columns that the last scene does not cover."""

type Pixels = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Scene:
    """One date: reflectance of shape (band, y, x), uint16, and NDVI of shape (1, y, x), float32."""

    date: str
    reflectance: Pixels
    ndvi: Pixels


def scenes() -> Iterator[Scene]:
    """Make one scene for each date."""
    random = np.random.default_rng(20240412)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    fields = _fields(random, y, x)
    river = np.abs(y - (HEIGHT * 0.55 + 60 * np.sin(x / 90) + 25 * np.sin(x / 31))) < 9
    for index, date in enumerate(DATES):
        season = np.sin(np.pi * (index + 1) / (len(DATES) + 1))
        yield _scene(random, date, _vegetation(fields, season), river, covered=index < len(DATES) - 1)


def _fields(random: np.random.Generator, y: Pixels, x: Pixels) -> Pixels:
    """How well each pixel's field grows, in 0 to 1: a patchwork of skewed rectangles."""
    column = (x + 0.25 * y) // 74
    row = (y - 0.15 * x + HEIGHT) // 58
    growth = random.random((int(row.max()) + 1, int(column.max()) + 1))
    grown: Pixels = growth[row.astype(int), column.astype(int)]
    return grown


def _vegetation(fields: Pixels, season: float) -> Pixels:
    vegetation: Pixels = np.clip(0.15 + 0.75 * season * fields, 0, 1)
    return vegetation


def _scene(random: np.random.Generator, date: str, green: Pixels, river: Pixels, *, covered: bool) -> Scene:
    soil = np.array([900.0, 1250.0, 1650.0, 2200.0])[:, None, None]
    leaf = np.array([280.0, 620.0, 330.0, 4300.0])[:, None, None]
    water = np.array([520.0, 430.0, 260.0, 140.0])[:, None, None]
    pixels = soil * (1 - green) + leaf * green
    pixels = np.where(river, water, pixels) * (1 + 0.03 * random.standard_normal(pixels.shape))
    cloud = _clouds(random)
    pixels = pixels * (1 - cloud) + 8200 * cloud
    reflectance = np.clip(pixels, 1, 10000).astype(np.uint16)
    red, near = reflectance[2].astype(np.float32), reflectance[3].astype(np.float32)
    ndvi = np.where(cloud > 0.4, np.float32(np.nan), (near - red) / (near + red)).astype(np.float32)
    if not covered:
        reflectance[:, :, :SWATH] = NODATA
        ndvi[:, :SWATH] = np.nan
    return Scene(date, reflectance, ndvi[None])


def _clouds(random: np.random.Generator) -> Pixels:
    """Opacity of clouds in 0 to 1: random bumps on a coarse grid, smoothly enlarged."""
    coarse = random.random((9, 11))
    rows, columns = np.linspace(0, 7.999, HEIGHT), np.linspace(0, 9.999, WIDTH)
    top, left = rows.astype(int), columns.astype(int)
    down, right = (rows - top)[:, None], (columns - left)[None]
    upper = coarse[top][:, left] * (1 - right) + coarse[top][:, left + 1] * right
    lower = coarse[top + 1][:, left] * (1 - right) + coarse[top + 1][:, left + 1] * right
    opacity: Pixels = np.clip((upper * (1 - down) + lower * down - 0.72) * 6, 0, 1)
    return opacity
