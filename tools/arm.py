"""One arm of a comparison on the miniature: make the images, account for them, and measure what they show."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from dymo import DyMO, load_reward
from dymo.miniature import MINIATURE_DEFAULTS, load_judge
from dymo.miniature.judge import satisfied
from dymo.miniature.world import Caption

BATCH = 8
SCORERS = ("mini-pickscore", "mini-hps")


@dataclass
class Arm:
    """Per image: scores of each scorer, 1.0 where the judge finds all that the prompt says, NFE, seconds.

    With several seeds a prompt, the images of the first seed come first, then those of the second, and so on.
    """

    name: str
    prompts: int
    scores: dict[str, list[float]] = field(default_factory=dict)
    correct: list[float] = field(default_factory=list)
    evaluations: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    denoiser_rows: int = 0
    denoiser_backwards: int = 0
    failures: dict[str, int] = field(default_factory=dict)


class Bench:
    """The miniature with its scorers and its judge, loaded once."""

    def __init__(self, pipe: Any):
        self.pipe = pipe
        pipe.set_progress_bar_config(disable=True)
        self.judge = load_judge()
        self.scorers = {name: load_reward(name) for name in SCORERS}

    def measure(self, arm: Arm, captions: Sequence[Caption], images: torch.Tensor) -> None:
        """Fill in what the images (n, 3, 128, 128) in [0, 1] show."""
        with torch.no_grad():
            for name, scorer in self.scorers.items():
                arm.scores[name] = scorer.score(images, [c.text for c in captions]).tolist()
        seen = self.judge.read(images)
        arm.correct = [float(satisfied(c, s).correct) for c, s in zip(captions, seen, strict=True)]

    def run(
        self, name: str, captions: Sequence[Caption], seed: int, aligner: DyMO | None, seeds: int = 1, **settings: Any
    ) -> Arm:
        """`seeds` images a caption, from the seeds `seed`, `seed` + 1, ...; unguided where `aligner` is None."""
        arm, images, every = Arm(name, len(captions)), [], [*captions] * seeds
        for start in range(0, len(every), BATCH):
            part = every[start : start + BATCH]
            generators = [torch.Generator().manual_seed(seed + start + i) for i in range(len(part))]
            call = {**MINIATURE_DEFAULTS, **settings, "generator": generators, "output_type": "pt"}
            began = time.perf_counter()
            if aligner is None:
                made = self.pipe([c.text for c in part], **call)
                arm.evaluations += [call["num_inference_steps"]] * len(part)
                arm.denoiser_rows += 2 * call["num_inference_steps"] * len(part)
            else:
                made = aligner(self.pipe, [c.text for c in part], **call)
                arm.evaluations += made.trace.evaluations
                arm.denoiser_rows += made.trace.cost.denoiser_rows
                arm.denoiser_backwards += made.trace.cost.denoiser_backwards
                for why, n in made.trace.failures.items():
                    arm.failures[why] = arm.failures.get(why, 0) + n
            arm.seconds += [(time.perf_counter() - began) / len(part)] * len(part)
            images.append(made.images.float())
        self.measure(arm, every, torch.cat(images))
        return arm
