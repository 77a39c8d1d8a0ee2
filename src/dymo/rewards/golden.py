"""Scores that the authors of a reward published, to hold a loaded one against."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Golden:
    """An image, its prompt, and what the authors' own code made of it."""

    reward: str
    image: str
    """File name."""
    prompt: str
    score: float
    tolerance: float
    """Of the published digits, and of the half precision it was computed in."""
    found_in: str
    """Where the image is published."""


_OCEAN = "a painting of an ocean with clouds and birds, day time, low depth field effect"
_OCEAN_SCORES = (0.5811622738838196, 0.2745276093482971, -1.4131819009780884, -2.029569625854492)

GOLDEN = (
    Golden(
        "hpsv2", "demo_image.jpg", "A cat with two horns on its head", 0.2876, 0.001,
        "github.com/tgxs002/HPSv2, hpsv2/assets",
    ),
    *(
        Golden("imagereward", f"{i}.webp", _OCEAN, score, 0.02, "github.com/THUDM/ImageReward, assets/images")
        for i, score in enumerate(_OCEAN_SCORES, 1)
    ),
)  # fmt: skip
