"""Attend-and-Excite: move z_t until every subject of the prompt has attention (Chefer et al., arXiv 2301.13826)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..guidance.loop import Loop, Need
from ..guidance.step import finite, per_sample
from ..pipelines.families import family_of
from ..prompt import parse
from ..understanding import Parser
from .contract import Result
from .handed import follows_loop
from .run import Run

Indices = tuple[int, ...]
_MAPS = Need(maps=True, through="maps", output=False)


def excitation(
    maps: Tensor, subjects: Sequence[Sequence[Indices]], grid: tuple[int, int], window: int | None = None
) -> Tensor:
    """L = max over subjects of 1 - (the largest value of its smoothed map), (B,); 0 for a sample without subjects.

    maps (B, pixels, tokens), a subject's map the mean of its tokens'. The start token (of each window of so many tokens) is
    left out and the rest made anew to sum 1 at each pixel, by a softmax of 100 times the attention; the smoothing is a 3x3
    Gaussian of 0.5 pixels.
    """
    starts = torch.arange(maps.shape[-1], device=maps.device) % (window or maps.shape[-1]) == 0
    attention = torch.softmax((100 * maps).masked_fill(starts, -torch.inf), dim=-1)
    line = torch.exp(-(torch.arange(-1.0, 2.0, device=maps.device) ** 2) / (2 * 0.5**2))
    kernel = (line[:, None] * line / line.sum() ** 2).to(maps.dtype)[None, None]
    losses = []
    for sample, things in zip(attention, subjects, strict=True):
        worst = [sample.new_zeros(())]
        for tokens in things:
            image = sample[:, list(tokens)].mean(-1).reshape(1, 1, *grid)
            smooth = F.conv2d(F.pad(image, (1, 1, 1, 1), mode="reflect"), kernel)
            worst.append(1 - smooth.max())
        losses.append(torch.stack(worst).max())
    return torch.stack(losses)


def descend(z: Tensor, gradient: Tensor, length: float) -> Tensor:
    """z_t' = z_t - alpha_t g, sample by sample; where the gradient is not finite z_t stays."""
    return torch.where(per_sample(finite(gradient), z), z - length * gradient, z)


@dataclass(frozen=True)
class AttendExcite:
    """Guides by attention alone; the reward, if any, is not read. For pipelines with a UNet.

    length: alpha at the first step, in latent units; until: the fraction of the steps that is guided; thresholds:
    (fraction of the steps, attention to reach there), each in at most `rounds` updates.
    """

    reads_reward: ClassVar[bool] = False
    length: float = 20.0
    until: float = 0.5
    thresholds: tuple[tuple[float, float], ...] = ((0.0, 0.05), (0.2, 0.5), (0.4, 0.8))
    rounds: int = 20
    parser: Parser | None = None

    @follows_loop
    def run(self, pipe, prompts, reward=None, budget=None, generator=None, **pipeline_kwargs: Any) -> Result:
        with Run(pipe, prompts, None, budget, generator, pipeline_kwargs) as run:
            tokenizer, parser = family_of(pipe).tokenizer(pipe), self.parser or parse
            graphs = [parser(reading.text) for reading in run.said.readings]
            words = [run.said.pairs(i, graph, tokenizer).words for i, graph in enumerate(graphs)]
            subjects = [
                list({known[e.text]: None for e in graph.entities if e.text in known})
                for graph, known in zip(graphs, words, strict=True)
                for _ in range(run.repeats)
            ]

            def affords(evaluations: int) -> bool:
                limit = run.budget.evaluations
                return (limit is None or evaluations <= limit) and run.seconds_left() > 0

            return run.result(run.generate(lambda loop: self.steps(loop, subjects, affords, run.said.window)))

    def steps(
        self, loop: Loop, subjects: list[list[Indices]], affords: Callable[[int], bool], window: int | None = None
    ) -> None:
        """Algorithm 1 of arXiv 2301.13826. affords: whether an image may have so many evaluations in all."""
        spent = 0
        for now in loop:
            refine = {round(at * now.steps): wanted for at, wanted in self.thresholds}
            # alpha_t falls from `length` by the root of a line from 1 to 1/2, as in the authors' own runs.
            length = self.length * (1 - 0.5 * now.index / max(1, now.steps - 1)) ** 0.5
            guided = now.index < self.until * now.steps and any(subjects)
            z = None
            for _ in range((self.rounds if now.index in refine else 1) if guided else 0):
                after = now.steps - now.index - 1 if now.ahead is None else now.ahead
                if not affords(spent + now.calls + after + 1):
                    break
                seen = loop.predict(z, need=_MAPS)
                spent += 1
                assert seen.maps is not None
                loss = excitation(seen.maps, subjects, seen.grid, window)
                wanted = refine.get(now.index)
                far = torch.ones_like(loss, dtype=torch.bool) if wanted is None else loss.detach() > 1 - wanted
                z = seen.z.detach()
                if not far.any():
                    break
                # alpha_t is in the latents' variance-preserving coordinates.
                moved = descend(z, seen.pull(loss, False), length * now.here.radius**2)
                z = torch.where(far.view(-1, 1, 1, 1), moved, z)
            spent += now.calls
            loop.accept(loop.sampler_step(loop.predict(z)))
