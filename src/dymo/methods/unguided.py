"""The algorithm that changes nothing: every step the sampler's own."""

from __future__ import annotations

from ..guidance.loop import Loop


def unguided(loop: Loop) -> None:
    """Run `loop` from noise to image with one evaluation a step and nothing added."""
    for _ in loop:
        loop.accept(loop.sampler_step(loop.predict()))
