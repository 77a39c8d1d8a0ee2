"""One arm of a comparison on the miniature: make the images, account for them, and measure what they show."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
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
    """Per picture: scores of each scorer, 1.0 where the judge finds every thing in its colour, NFE, seconds.

    With several seeds a prompt, the pictures of the first seed come first, then those of the second, and so on.
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

    def by_prompt(self, values: Sequence[float], first: int | None = None) -> list[float]:
        """The mean over its seeds of each prompt, of the `first` prompts or of all: prompts are what is resampled."""
        return [fmean(values[i :: self.prompts]) for i in range(first or self.prompts)]


class Bench:
    """The miniature with its scorers and its judge, loaded once."""

    def __init__(self, pipe: Any):
        self.pipe = pipe
        pipe.set_progress_bar_config(disable=True)
        self.judge = load_judge()
        self.scorers = {name: load_reward(name) for name in SCORERS}

    def measure(self, arm: Arm, captions: Sequence[Caption], pictures: torch.Tensor) -> None:
        """Fill in what the pictures (n, 3, 64, 64) in [0, 1] show."""
        with torch.no_grad():
            for name, scorer in self.scorers.items():
                arm.scores[name] = scorer.score(pictures, [c.text for c in captions]).tolist()
        seen = self.judge.read(pictures)
        arm.correct = [float(satisfied(c, s).correct) for c, s in zip(captions, seen, strict=True)]

    def run(
        self, name: str, captions: Sequence[Caption], seed: int, aligner: DyMO | None, seeds: int = 1, **settings: Any
    ) -> Arm:
        """`seeds` pictures a caption, from the seeds `seed`, `seed` + 1, ...; unguided where `aligner` is None."""
        arm, pictures, every = Arm(name, len(captions)), [], [*captions] * seeds
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
            pictures.append(made.images.float())
        self.measure(arm, every, torch.cat(pictures))
        return arm

    def best_of(self, n: int, captions: Sequence[Caption], seed: int, guide: str, seeds: int = 1) -> Arm:
        """The best of `n` unguided pictures by the scorer `guide`, `seeds` times a caption; rounds lie 10,000 apart."""
        rounds = [self.run(f"round {i}", captions, seed + 10_000 * i, None, seeds) for i in range(n)]
        best = [max(range(n), key=lambda i: rounds[i].scores[guide][k]) for k in range(len(captions) * seeds)]
        arm = Arm(f"best of {n} by {guide}", len(captions))
        arm.scores = {name: [rounds[i].scores[name][k] for k, i in enumerate(best)] for name in SCORERS}
        arm.correct = [rounds[i].correct[k] for k, i in enumerate(best)]
        arm.evaluations = [sum(r.evaluations[k] for r in rounds) for k in range(len(best))]
        arm.seconds = [sum(r.seconds[k] for r in rounds) for k in range(len(best))]
        arm.denoiser_rows = sum(r.denoiser_rows for r in rounds)
        return arm
