"""Scores that the authors of a reward published, to hold a loaded one against."""

from __future__ import annotations

from typing import NamedTuple


class Golden(NamedTuple):
    """An image, its prompt, and what the authors' own code made of it."""

    reward: str
    image: str  # its file's name
    prompt: str
    score: float
    tolerance: float  # of the published digits, and of the half precision it was computed in
    found_in: str  # where the image is published


_HORNS = "A cat with two horns on its head"
_OCEAN = "a painting of an ocean with clouds and birds, day time, low depth field effect"
_THERE = "github.com/THUDM/ImageReward, assets/images"

GOLDEN = (
    Golden("hpsv2", "demo_image.jpg", _HORNS, 0.2876, 0.001, "github.com/tgxs002/HPSv2, hpsv2/assets"),
    Golden("imagereward", "1.webp", _OCEAN, 0.5811622738838196, 0.02, _THERE),
    Golden("imagereward", "2.webp", _OCEAN, 0.2745276093482971, 0.02, _THERE),
    Golden("imagereward", "3.webp", _OCEAN, -1.4131819009780884, 0.02, _THERE),
    Golden("imagereward", "4.webp", _OCEAN, -2.029569625854492, 0.02, _THERE),
)  # fmt: skip
