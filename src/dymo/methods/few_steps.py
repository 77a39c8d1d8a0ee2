"""Guidance of pipelines that take few steps (LCM, TCD, Turbo, Lightning, Hyper), over any loop.

    at each level, R times:
        z          <-  a z0'_{t+1} + s noise                                   another draw of the level (another z_T at the first)
        and from the best of these, above the last border of the stages,
        g          <-  d (w_A L_A(M) + w_R L_R(D(z0'))) / d z                  both objectives
        z          <-  ||z|| (z + d) / ||z + d||,  d the displacement by g     on the same shell
    of all that were evaluated at the level, the z with the highest reward goes on:
        z_{t-1}    <-  sampler(z, eps)
    of all levels after the first, the z0' with the highest reward is the image.

A prediction of such a model is an image from the first step on, so that rewards hold there; and what the first step
has laid out, later ones hardly change: the first level is the place to choose the noise (ReNO, arXiv 2406.04312, whose
regularisation of the norm is the shell here), later levels the place to choose among draws (arXiv 2501.09685). The
gradient is the words' above all: the reward's soon finds images that please it alone, and chooses well among others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from ..budget import Allotment
from ..config import Config, Gradient
from ..guidance.gradient import gradient
from ..guidance.loop import PREDICTION, Loop, Seen, Timestep, pick, put
from ..guidance.objectives import Objective, needed, rest, resting, weighted
from ..guidance.observer import Observer
from ..guidance.schedule import Stage, stage
from ..guidance.step import move, norms, per_sample

MOST = 8
"""Steps up to which a run without classifier-free guidance is taken for one of few steps."""
WEIGHTS: tuple[float, float] = (1.0, 0.1)
"""w_A and w_R where a gradient steers."""
FRESH = 0.4
"""Share of such a level's further evaluations that goes to other noise."""


@dataclass(frozen=True)
class _Image:
    """z0' (n, c, h, w); the loss that it is compared by, (n,); and the index of the step that predicted it, (n,)."""

    z0: Tensor
    loss: Tensor
    step: Tensor


def few_steps(
    loop: Loop, objectives: Sequence[Objective], config: Config, allotment: Allotment | None = None,
    observer: Observer | None = None, fresh: bool = True,
) -> None:  # fmt: skip
    """Run `loop` from noise to image. All quantities are per sample.

    fresh: whether the image may begin at other noise; where a run does not begin at noise (img2img), it never does. Where the
    budget's bytes do not suffice for a gradient, a level's draws are compared all the same, by the objectives on images; where
    its seconds do not, the level is left to the sampler.
    """
    allotment, observer = allotment or Allotment(), observer or Observer()
    config = replace(config, eta_steps=None)
    allotment.no_dearer["preference"] = "mixed"  # a draw has no gradient
    before: Tensor | None = None  # z0' of the level before
    image: _Image | None = None  # the best of the levels after the first
    for now in loop:
        draws = before is not None or (fresh and now.done == 0)
        live = [o for o in objectives if len(resting(o)) < loop.samples]
        plan = partial(_plan, live, config, allotment, before is None or stage(config, now) != "preference", draws)
        way = plan(now.left, 0.0)
        observer.begin(now, way.kind, way.short)
        if way.acting:
            z, z0, worth = _best(loop, way, plan, config, allotment, observer, now, before, draws)
            if before is not None and any(o.needs == "image" for o in way.acting):
                image = _better(image, _Image(z0, worth, torch.full_like(worth, now.index)))
                if now.index == now.steps - 1 and now.there.s == 0:
                    own = image.step == now.index
                    z, z0 = _where(own, z, now.there.a * image.z0), _where(own, z0, image.z0)
                    observer.chosen(image.step, z0)
        else:
            seen = loop.predict()
            z, z0 = loop.sampler_step(seen), seen.z0.detach()
            allotment.count(seen.rows, way.kind)
        loop.accept(z)
        rest(objectives, observer.accepted(z, z0))
        before = z0


@dataclass(frozen=True)
class _Way:
    """How a level is evaluated: "mixed" by a gradient, "preference" by draws that are compared, or "unguided"."""

    kind: Stage
    acting: Sequence[Objective] = ()
    through: Gradient = "straight-through"
    """What the gradient goes through; a draw needs none."""
    short: str | None = None
    """Of what the budget has too little for more than this."""


def _plan(
    objectives: Sequence[Objective], config: Config, allotment: Allotment, steers: bool, draws: bool, left: int, kept: float = 0.0
) -> _Way:  # fmt: skip
    """The next evaluation of a level, where a gradient steers or not, and draws can be made or not; left: the steps that must
    still be paid for, with this one; kept: seconds that later levels are to have.
    """
    on_images = [o for o in objectives if o.needs == "image"]
    short: str | None = None
    if steers and objectives:
        through, short = allotment.plan("mixed", config.through, left, kept)
        if short is None:
            return _Way("mixed", objectives, through)
    if on_images and draws and short != "seconds":
        _, lacks = allotment.plan("preference", "straight-through", left, kept)
        if lacks is None:
            return _Way("preference", on_images, short=short)
        short = lacks
    return _Way("unguided", short=short)


def _best(
    loop: Loop, way: _Way, plan: Callable[[int, float], _Way], config: Config, allotment: Allotment, observer: Observer, now: Timestep,
    before: Tensor | None, draws: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """z_{t-1} and z0' of the best z of one level, and what it was compared by."""
    every, again, whole = list(range(loop.samples)), _tries(config, allotment, now), allotment.seconds_left()
    seen, d, least, better = _evaluated(loop, None, way, config, allotment, observer, torch.inf)
    best, along, shell, r = seen.z, d, norms(seen.z), 0
    kept, expected = 0.0, again
    if allotment.budget.seconds is not None:
        kept = _kept(config, allotment, now, whole, way.kind)
        expected = min(again, allotment.rounds(way.kind, kept))
    drawn = round(FRESH * expected) if draws else 0
    # What the budget still allows is asked before each evaluation: a first one shows its price, and going back to the best has one.
    while r < again and (way := plan(now.left + 1, kept)).acting:
        if r < drawn or way.kind == "preference":
            z = _on_shell(loop.noise(every), shell) if before is None else now.here.a * before + now.here.s * loop.noise(every)
        else:
            z = _on_shell(best + along if r == drawn else seen.z + d, shell)
        seen, d, loss, better = _evaluated(loop, z, way, config, allotment, observer, least)
        best, along, least = _where(better, seen.z, best), _where(better, d, along), torch.where(better, loss, least)
        r += 1
    observer.granted(every, [r] * loop.samples)
    z_next, z0 = loop.sampler_step(seen), seen.z0.detach()
    # Where the last one was not the best: evaluate the best again, and go on from there.
    (last,) = observer.read(better)
    if back := [i for i in every if not last[i]]:
        seen = loop.predict(pick(best, back), back)
        allotment.count(back, "unguided")
        z_next = put(z_next, back, loop.sampler_step(seen))
        z0 = put(z0, back, seen.z0.detach())
    return z_next, z0, least


def _evaluated(
    loop: Loop, z: Tensor | None, way: _Way, config: Config, allotment: Allotment, observer: Observer, least: Tensor | float
) -> tuple[Seen, Tensor, Tensor, Tensor]:  # fmt: skip
    """What is seen of all samples at z, the displacement by its gradient, what it is compared by, (n,), and whether that is less
    than the `least` so far.
    """
    need = needed(way.acting, way.through) if way.kind == "mixed" else PREDICTION
    with allotment.weighed(way.kind, way.through):
        seen = loop.predict(z, list(range(loop.samples)), need)
        if way.kind != "mixed" and allotment.budget.bytes is not None:
            seen = replace(seen, z0=seen.z0.detach())  # a draw needs no graph, and keeps none
        d, loss, better = _guide(way.acting, config, way.kind, seen, observer, least)
    allotment.count(seen.rows, way.kind)
    return seen, d, loss, better


def _better(one: _Image | None, other: _Image) -> _Image:
    """Sample by sample the one that is worth more: has the lower loss."""
    if one is None:
        return other
    rows = other.loss <= one.loss
    return _Image(_where(rows, other.z0, one.z0), torch.where(rows, other.loss, one.loss), torch.where(rows, other.step, one.step))


def _tries(config: Config, allotment: Allotment, now: Timestep) -> int:
    """How often a level is evaluated again: by the configuration, or half of the evaluations at the first level and the rest
    evenly (all of them where there is one level). One evaluation of each guided level is kept for going back to its best.
    """
    wanted = config.updates if now.index == 0 else config.draws
    free = allotment.free()
    if free is None:
        return wanted
    share = max(min(4, free - 2 * now.steps), free // 2) if 0 == now.index < now.steps - 1 else free // now.left
    return max(0, min(share, free - 2 * (now.left - 1)) - 2)


def _kept(config: Config, allotment: Allotment, now: Timestep, whole: float, kind: Stage) -> float:
    """Seconds of the `whole` that a level leaves to those after it: half at the first level, then even shares; at most what their
    draws, and going back to the best of them, take at this level's price.
    """
    share = whole / 2 if now.index == 0 else whole / now.left
    return min(whole - share, (config.draws + 2) * allotment.price(kind) * (now.left - 1))


def _guide(
    acting: Sequence[Objective], config: Config, kind: Stage, seen: Seen, observer: Observer, least: Tensor | float
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The displacement of z by the weighted gradient at what was seen, none where only draws are compared; by what they are,
    (n,): the loss of the objectives on images, or of all where there is none; and whether it is less than `least`.
    """
    steers = kind == "mixed"
    w_A, w_R = WEIGHTS if steers else (0.0, 1.0)
    one = seen.eps.new_ones(len(seen.rows))
    w, losses = weighted(acting, config.semantic_weight * w_A * one, config.preference_weight * w_R * one, seen)
    here, there = seen.timestep.here.radius, seen.timestep.there.radius
    moved = move(config, kind, gradient([w[n] * losses[n] for n in losses], seen), seen) if steers else None
    on_images = [o.name for o in acting if o.needs == "image"]
    parts = [(w[n] > 0) * (losses[n] if losses[n].ndim == 1 else losses[n].sum(0)).detach() for n in on_images or losses]
    total = torch.nan_to_num(torch.stack(parts).sum(0), nan=torch.inf)
    observer.evaluated(seen, w, losses, moved, total < least)
    d = torch.zeros_like(seen.z) if moved is None else moved.displacement * (here / there)
    return d, total, total < least


def _on_shell(z: Tensor, shell: Tensor) -> Tensor:
    """z, each sample at the norm that it began with."""
    return z * per_sample(shell / norms(z).clamp_min(1e-30), z)


def _where(rows: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(per_sample(rows, a), a, b)
