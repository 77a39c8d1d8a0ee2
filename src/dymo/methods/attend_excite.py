"""Attend-and-Excite: move z_t until every subject of the prompt has attention (Chefer et al., SIGGRAPH 2023)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..aligner import Parser
from ..guidance.step import failures
from ..pipelines.attention import AttentionTaps
from ..pipelines.families import latent_side, map_layers
from ..pipelines.loop import Hooks
from ..prompt import parse
from ..prompt.tokens import token_pairs
from .base import Result, Run

Indices = tuple[int, ...]


def excitation(maps: Tensor, subjects: Sequence[Sequence[Indices]], side: tuple[int, int]) -> Tensor:
    """L = max over subjects of 1 - (the largest value of its smoothed map), (B,); 0 for a sample without subjects.

    maps (B, pixels, tokens), a subject's map the mean of its tokens'. The start token is left out and the rest made
    anew to sum 1 at each pixel, by a softmax of 100 times the attention; the smoothing is a 3x3 Gaussian of 0.5 pixels.
    """
    attention = torch.softmax(100 * maps[..., 1:], dim=-1)
    line = torch.exp(-(torch.arange(-1.0, 2.0, device=maps.device) ** 2) / (2 * 0.5**2))
    kernel = (line[:, None] * line / line.sum() ** 2).to(maps.dtype)[None, None]
    losses = []
    for sample, things in zip(attention, subjects, strict=True):
        worst = [sample.new_zeros(())]
        for tokens in things:
            image = sample[:, [i - 1 for i in tokens]].mean(-1).reshape(1, 1, *side)
            smooth = F.conv2d(F.pad(image, (1, 1, 1, 1), mode="reflect"), kernel)
            worst.append(1 - smooth.max())
        losses.append(torch.stack(worst).max())
    return torch.stack(losses)


def descend(z: Tensor, gradient: Tensor, length: float) -> Tensor:
    """z_t' = z_t - alpha_t g, sample by sample; where the gradient is not finite z_t stays."""
    usable = torch.tensor([why not in ("nan", "infinite") for why in failures(gradient)], device=z.device)
    return torch.where(usable.view(-1, 1, 1, 1), z - length * gradient, z)


class _Excite(Hooks):
    """Before each step of the first half one update; at the steps of `refine` as many as the threshold asks for."""

    def __init__(self, run: Run, taps: AttentionTaps, subjects: list[list[Indices]], method: AttendExcite):
        self.run, self.taps, self.subjects, self.method = run, taps, subjects, method
        self.steps = run.steps or 1
        self.refine = {round(at * self.steps): wanted for at, wanted in method.thresholds}

    def before(self, index: int, z: Tensor, look: Callable[[Tensor], None]) -> Tensor | None:
        if index >= self.method.until * self.steps or not any(self.subjects):
            return None
        # alpha_t falls from `length` by the root of a line from 1 to 1/2, as the paper's own run has it.
        length = self.method.length * (1 - 0.5 * index / max(1, self.steps - 1)) ** 0.5
        z = z.detach()
        for _ in range(self.method.rounds if index in self.refine else 1):
            if not self._affords(index):
                break
            source = z.requires_grad_()
            loss = self._loss(source, look)
            wanted = self.refine.get(index)
            far = torch.ones_like(loss, dtype=torch.bool) if wanted is None else loss.detach() > 1 - wanted
            if not far.any():
                break
            (gradient,) = torch.autograd.grad(loss, source, torch.ones_like(loss))
            self.run.trace.cost.denoiser_backwards += len(z)
            z = torch.where(far.view(-1, 1, 1, 1), descend(z.detach(), gradient, length), z.detach())
        self.taps.clear()
        return z.detach()

    def _loss(self, z: Tensor, look: Callable[[Tensor], None]) -> Tensor:
        self.taps.clear()
        look(z)
        with torch.enable_grad():
            maps = torch.stack([self.taps.probabilities(name).float().mean(1) for name in self.taps.modules]).mean(0)
            height, width = z.shape[-2:]
            factor = round((height * width / maps.shape[1]) ** 0.5)
            return excitation(maps, self.subjects, (-(-height // factor), -(-width // factor)))

    def _affords(self, index: int) -> bool:
        left, limit = self.steps - index, self.run.budget.evaluations
        if limit is not None and max(self.run.trace.evaluations) + left + 1 > limit:
            return False
        return self.run.seconds_left() > 0


@dataclass(frozen=True)
class AttendExcite:
    """Guides by attention alone; the reward, if any, is not read. For pipelines with a UNet.

    length: alpha at the first step, in latent units; until: the fraction of the steps that is guided; thresholds:
    (fraction of the steps, attention to reach there), each in at most `rounds` updates.
    """

    length: float = 20.0
    until: float = 0.5
    thresholds: tuple[tuple[float, float], ...] = ((0.0, 0.05), (0.2, 0.5), (0.4, 0.8))
    rounds: int = 20
    parser: Parser | None = None

    def run(self, pipe, prompts, reward=None, budget=None, generator=None, **pipeline_kwargs: Any) -> Result:
        with Run(pipe, prompts, None, budget, generator, pipeline_kwargs) as run:
            layers, _ = map_layers(pipe.unet, latent_side(pipe, run.kwargs.get("height")), None)
            graphs = [(self.parser or parse)(text) for text in run.texts]
            pairs = [token_pairs(graph, pipe.tokenizer).words for graph in graphs]
            subjects = [
                list({words[e.text]: None for e in graph.entities if e.text in words})
                for graph, words in zip(graphs, pairs, strict=True)
                for _ in range(run.repeats)
            ]
            taps = run.enter_context(AttentionTaps(layers))
            return run.result(run.paint(_Excite(run, taps, subjects, self), layers=layers))
