"""Colours as people with and without a colour vision deficiency see them.

Sources: sRGB and CIELAB of IEC 61966-2-1 and CIE 15; contrast of WCAG 2.2, section 1.4.3; colour
vision deficiencies of Machado, Oliveira, Fernandes, IEEE Trans. Vis. Comput. Graph. 15 (2009) 1291,
their matrices of severity 1.0, which work on linear RGB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

VISION: Mapping[str, Values] = {
    "usual": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
WHITE_D65 = np.array([0.95047, 1.0, 1.08883])


def linear_rgb(colour: str) -> Values:
    """Return what `#RRGGBB` gives off, 0 to 1, (3,)."""
    digits = colour.lstrip("#")
    encoded = np.array([int(digits[first : first + 2], 16) for first in (0, 2, 4)]) / 255.0
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def seen_as(colour: str, vision: str) -> Values:
    """Return CIELAB (L*, a*, b*) of `#RRGGBB` as it is seen, (3,)."""
    seen = np.clip(VISION[vision] @ linear_rgb(colour), 0.0, 1.0)
    parts = TO_XYZ @ seen / WHITE_D65
    bent = np.where(parts > (6 / 29) ** 3, np.cbrt(parts), parts / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array(
        [116 * bent[1] - 16, 500 * (bent[0] - bent[1]), 200 * (bent[1] - bent[2])], dtype=float
    )


def closest(colours: Sequence[str], vision: str) -> tuple[float, tuple[str, str]]:
    """Return the least distance (CIE76) between two of these colours, and which they are."""
    distances = {
        pair: float(np.linalg.norm(seen_as(pair[0], vision) - seen_as(pair[1], vision)))
        for pair in combinations(dict.fromkeys(colours), 2)
    }
    pair = min(distances, key=lambda each: distances[each])
    return distances[pair], pair


def lightness(colours: Sequence[str], vision: str) -> Values:
    """Return L* of each colour as it is seen."""
    return np.array([seen_as(colour, vision)[0] for colour in colours])


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, 1 to 21."""
    weights = np.array([0.2126, 0.7152, 0.0722])
    low, high = sorted(float(weights @ linear_rgb(colour)) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)
