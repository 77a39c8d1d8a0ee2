"""The two objectives: semantic alignment L_A from attention maps, preference L_R from scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

Indices = tuple[int, ...]


class Pairs(Protocol):
    """S_pos (object, its attribute) and S_neg (object, other object), each word as the positions of its tokens."""

    @property
    def positive(self) -> Sequence[tuple[Indices, Indices]]: ...

    @property
    def negative(self) -> Sequence[tuple[Indices, Indices]]: ...


def word_map(maps: Tensor, indices: Indices) -> Tensor:
    """The map of a word: the mean over its pieces' maps, normalised to sum 1. maps (pixels, tokens) -> (pixels,)."""
    mean = maps[:, list(indices)].mean(-1)
    return mean / mean.sum().clamp_min(torch.finfo(mean.dtype).tiny)


def semantic_loss(maps: Tensor, pairs: Sequence[Pairs]) -> Tensor:
    """L_A = -mean over S_pos of f(M_s, M_l) + mean over S_neg of f(M_s, M_l), f the cosine; an empty set gives 0.

    maps (B, pixels, tokens), one `Pairs` a sample -> (B,) in [-1, 1]. Method note, equation 5.
    """
    losses = []
    for sample, words in zip(maps, pairs, strict=True):
        loss = sample.new_zeros(())
        for sign, chosen in ((-1, words.positive), (1, words.negative)):
            if chosen:
                cosines = [F.cosine_similarity(word_map(sample, s), word_map(sample, o), dim=0) for s, o in chosen]
                loss = loss + sign * torch.stack(cosines).mean()
        losses.append(loss)
    return torch.stack(losses)


def preference_loss(scores: Tensor, form: str, tau: float, cosine_scale: float | None) -> Tensor:
    """L_R of each sample from the scores of its views. scores (views, ..., B) -> (..., B). Method note, equation 4.

    "exponential": -exp(tau cos), where `cosine_scale` says how many points of score one unit of cosine is; a reward
    that is no cosine (None) enters as -score. "score": -mean. "norm": -||scores||_2, the reference's form.
    """
    if form == "norm":
        return -scores.norm(dim=0)
    if form == "exponential" and cosine_scale is not None:
        return -torch.exp(tau * scores / cosine_scale).mean(0)
    return -scores.mean(0)
