"""The two objectives: semantic alignment L_A from attention maps, preference L_R from a reward's scores.

An objective of your own is any object with the three members of `Objective`; `DyMO(..., objectives=[...])` takes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from ..config import Gradient
from ..errors import RewardError
from .loop import PREDICTION, Need, Seen
from .views import views

Indices = tuple[int, ...]
Word = Indices | tuple[Indices, ...]
"""The places of a word's tokens: of one text encoder, or of each."""


class Objective(Protocol):
    """Something to lower while denoising. What `needs` says also decides its weight: w_A for maps, w_R for images."""

    name: str
    needs: Literal["maps", "image"]

    def loss(self, seen: Seen) -> Tensor:
        """The loss of each sample seen, (n,), with a graph to `seen.maps`, `seen.images` or `seen.z0`.

        (K, n) for K parts whose gradients must not work against each other.
        """
        ...


class Pairs(Protocol):
    """S_pos (object, its attribute) and S_neg (object, other object), each word as the positions of its tokens."""

    @property
    def positive(self) -> Sequence[tuple[Word, Word]]:
        """S_pos, drawn together."""
        ...

    @property
    def negative(self) -> Sequence[tuple[Word, Word]]:
        """S_neg, drawn apart."""
        ...


def resting(objective: Objective) -> set[int]:
    """The samples that an objective does not act on."""
    return getattr(objective, "resting", set())


def rest(objectives: Sequence[Objective], samples: Collection[int]) -> None:
    """From now on the reward acts on these samples no more."""
    for o in objectives:
        if samples and isinstance(o, Preference):
            o.resting.update(samples)


def needed(acting: Sequence[Objective], through: Gradient, on_z0: bool = False) -> Need:
    """Which maps and gradients the acting objectives take from the denoiser, where those on z0' may go `through` so much of it.

    on_z0: whether those on maps have a gradient by z0' too.
    """
    if not acting:
        return PREDICTION
    maps, image = (any(o.needs == needs for o in acting) for needs in ("maps", "image"))
    if (image or on_z0) and through in ("full", "conditional"):
        return Need(maps, through)
    return Need(maps, "maps" if maps else "none")


def weighted(
    objectives: Sequence[Objective], w_A: Tensor, w_R: Tensor, seen: Seen
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights (n,) and losses (n,) or (K, n) by objective's name; w_A and w_R (n,), 0 for the samples that it rests on."""
    w, losses = {}, {}
    for o in objectives:
        w[o.name] = w_A if o.needs == "maps" else w_R
        if rests := resting(o):
            w[o.name] = w[o.name] * _marks(tuple(i not in rests for i in seen.rows), w_A.device)
        losses[o.name] = o.loss(seen)
    return w, losses


@lru_cache(maxsize=256)
def _marks(which: tuple[bool, ...], device: torch.device) -> Tensor:
    """1 and 0 on a device, brought there once: an upload makes the host wait."""
    with torch.inference_mode(False):
        return torch.tensor(which, dtype=torch.float32, device=device)


def word_map(maps: Tensor, indices: Word) -> Tensor:
    """The map of a word: the mean over its pieces' maps, normalised to sum 1. maps (pixels, tokens) -> (pixels,).

    A word that several text encoders read has pieces of each: the mean of the encoders' maps, each normalised, since one
    encoder's tokens may draw many times the attention of another's.
    """
    if indices and isinstance(indices[0], tuple):
        return torch.stack([word_map(maps, part) for part in indices]).mean(0)
    mean = maps[:, list(indices)].mean(-1)
    return mean / mean.sum().clamp_min(torch.finfo(mean.dtype).tiny)


def semantic_loss(maps: Tensor, pairs: Sequence[Pairs]) -> Tensor:
    """L_A = -mean over S_pos of f(M_s, M_l) + mean over S_neg of f(M_s, M_l), f the cosine; an empty set gives 0.

    The semantic alignment objective of arXiv 2412.00759. maps (B, pixels, tokens), one `Pairs` a sample -> (B,) in [-1, 1].
    """
    said = tuple((_fixed(one.positive), _fixed(one.negative)) for one in pairs)
    plan = _plan(said, maps.shape[-1], maps.dtype, maps.device)
    if plan is None:
        return maps.new_zeros(len(maps))
    both = maps @ plan.pieces
    if plan.encoders is not None:  # means over encoders weigh each alike; a cosine is the same of maps of any sum
        both = _normalised(both) @ plan.encoders
    size = torch.linalg.vector_norm(both, dim=1, keepdim=True)
    s, o = (both / size.clamp_min(_faintest(both))).chunk(2, -1)
    return ((s * o).sum(1) * plan.weights).sum(-1)


class _Plan(NamedTuple):
    """The sums of `semantic_loss` for the pairs of a batch, as matrices: both words of K pairs a sample, filled up."""

    pieces: Tensor
    """(B, tokens, parts): the mean over a word's pieces, of each encoder that reads it."""
    encoders: Tensor | None
    """(B, parts, 2 K): the mean over encoders; None where each word has one."""
    weights: Tensor
    """(B, K): -1 and 1 over the number of pairs; 0 where a sample has fewer."""


@lru_cache(maxsize=256)
def _plan(pairs: tuple[tuple[Any, Any], ...], tokens: int, dtype: torch.dtype, device: torch.device) -> _Plan | None:
    most = max(len(positive) + len(negative) for positive, negative in pairs)
    if not most:
        return None
    words: list[list[tuple[Indices, ...]]] = []
    weights = torch.zeros(len(pairs), most, dtype=torch.float64)
    for b, (positive, negative) in enumerate(pairs):
        chosen = [*positive, *negative] + [((0,), (0,))] * (most - len(positive) - len(negative))
        words.append([_parts(pair[side]) for side in (0, 1) for pair in chosen])
        weights[b, : len(positive)] = -1 / max(1, len(positive))
        weights[b, len(positive) : len(positive) + len(negative)] = 1 / max(1, len(negative))
    each = max(len(word) for row in words for word in row)
    pieces = torch.zeros(len(pairs), tokens, 2 * most * each, dtype=torch.float64)
    encoders = torch.zeros(len(pairs), 2 * most * each, 2 * most, dtype=torch.float64)
    for b, row in enumerate(words):
        for w, word in enumerate(row):
            for p, indices in enumerate(word):
                for i in indices:
                    pieces[b, i, w * each + p] += 1 / len(indices)
                encoders[b, w * each + p, w] = 1 / len(word)
    with torch.inference_mode(False):
        pieces, encoders, weights = (x.to(device, dtype) for x in (pieces, encoders, weights))
        return _Plan(pieces, encoders if each > 1 else None, weights)


def _fixed(words: Any) -> Any:
    """Nested sequences as tuples."""
    return tuple(map(_fixed, words)) if isinstance(words, (list, tuple)) else words


def _parts(word: Word) -> tuple[Indices, ...]:
    return word if word and isinstance(word[0], tuple) else (word,)  # type: ignore[return-value]


def _normalised(maps: Tensor) -> Tensor:
    """Maps (B, pixels, words), each brought to sum 1."""
    return maps / maps.sum(1, keepdim=True).clamp_min(_faintest(maps))


def _faintest(maps: Tensor) -> float:
    """What a map is divided by at least: below it squares vanish, and a word that is nowhere is like nothing, with a finite slope."""
    return torch.finfo(maps.dtype).tiny ** 0.5


def preference_loss(scores: Tensor, form: str, tau: float, cosine_scale: float | None) -> Tensor:
    """L_R of each sample from the scores of its views. scores (views, ..., B) -> (..., B).

    "exponential": -exp(tau cos) (arXiv 2412.00759; its poster leaves out the minus sign), where `cosine_scale` says how many
    points of score one unit of cosine is; a reward that is no cosine (None) enters as -score. "score": -mean. "norm":
    -||scores||_2, the form of the authors' program.
    """
    if form == "norm":
        return -scores.norm(dim=0)
    if form == "exponential" and cosine_scale is not None:
        return -torch.exp(tau * scores / cosine_scale).mean(0)
    return -scores.mean(0)


@dataclass
class SemanticAlignment:
    """L_A of the samples' word pairs, one `Pairs` a sample of the run."""

    pairs: Sequence[Pairs]
    name: str = "semantic"
    needs: Literal["maps", "image"] = "maps"
    resting: set[int] = field(init=False)
    """Samples without pairs."""

    def __post_init__(self) -> None:
        self.resting = {i for i, one in enumerate(self.pairs) if not one.positive and not one.negative}

    def loss(self, seen: Seen) -> Tensor:
        """(n,) in [-1, 1]."""
        assert seen.maps is not None
        return semantic_loss(seen.maps, [self.pairs[i] for i in seen.rows])


@dataclass
class Preference:
    """L_R of a reward on the decoded prediction.

    score(images (n, 3, H, W) in [0, 1], samples, t) -> (n,), or (K, n) for K summands that must not work against each other.
    """

    score: Callable[[Tensor, list[int], float], Any]
    form: str = "exponential"
    tau: float = 5.0
    cosine_scale: float | None = None
    views: int = 1
    fresh_views: bool = False
    """New augmentations at each evaluation, in place of the same ones for every evaluation of a step."""
    seeds: Sequence[int] = ()
    """Of each sample's augmentations; 0 where there is none."""
    clamp: bool = True
    """Pixels beyond black and white are cut before the reward sees them, and then have no gradient."""
    gain: float = 1.0
    """What L_R is multiplied by (`guidance/units.py`)."""
    resting: set[int] = field(default_factory=set)
    """Samples that are not steered by it any more."""
    name: str = "preference"
    needs: Literal["maps", "image"] = "image"
    _evaluations: Counter[int] = field(default_factory=Counter)
    """By sample."""

    def loss(self, seen: Seen) -> Tensor:
        """(n,) or (K, n). Raises RewardError where the reward does not give n scores, with a gradient where the images have one."""
        images = seen.images.clamp(0, 1) if self.clamp else seen.images
        copies = views(images, self.views, [self._seed(i, seen.timestep.index) for i in seen.rows])
        self._evaluations.update(seen.rows)
        if self.clamp and self.views > 1:
            copies = copies.clamp(0, 1)
        scores = self._scored(copies, seen)
        seen.notes["reward"] = scores[0].detach().sum(0)
        if self.resting:
            seen.notes["reward"][[k for k, i in enumerate(seen.rows) if i in self.resting]] = float("nan")
        return self.gain * preference_loss(scores, self.form, self.tau, self.cosine_scale)

    def _seed(self, sample: int, step: int) -> int:
        return (self.seeds[sample] if self.seeds else 0) + (self._evaluations[sample] if self.fresh_views else step)

    def _scored(self, copies: Tensor, seen: Seen) -> Tensor:
        """Scores (views, K, n) of copies (views, n, 3, H, W), all in one call of the reward."""
        n = copies.shape[0] * copies.shape[1]
        score = self.score(copies.flatten(0, 1), seen.rows * copies.shape[0], seen.timestep.t)
        if not isinstance(score, Tensor) or score.ndim not in (1, 2) or score.shape[-1] != n:
            got = tuple(score.shape) if isinstance(score, Tensor) else type(score).__name__
            raise RewardError(f"the reward returned {got} for {n} images: it must return a tensor ({n},)")
        if copies.requires_grad and not score.requires_grad:
            raise RewardError(
                "the reward's score has no gradient to the images: it cannot guide (is it under no_grad?)"
            )
        return score.float().view(-1, *copies.shape[:2]).transpose(0, 1)
