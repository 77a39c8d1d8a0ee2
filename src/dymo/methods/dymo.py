"""DyMO: Algorithm 1 of arXiv 2412.00759, over any loop.

for each noise level t:
    repeat 1 + r_t times:
        eps, M      <-  the denoiser at z_t, with its cross-attention maps
        z0'         <-  (z_t - s eps) / a                                             one-step prediction
        w           <-  1 - exp(-k ||z0'_t - z0'_{t+1}|| / ||z0'_{t+1}||)             dynamic weight
        g_t         <-  d (w_A L_A(M) + w_R L_R(D(z0'))) / d z_t                      both objectives
        z_{t-1}     <-  sampler(z_t, eps) - eta_t ||eps|| / ||g_t||^2 g_t             Polyak's step
        r_t         <-  floor(h_t ||g_t||), at the first evaluation                   dynamic recurrence
        z_t         <-  sqrt(1 - beta_t) z_{t-1} + sqrt(beta_t) noise                 time travel

L_R and the length ||g_t|| are relative to the reward's spread and the latents' size, or as they are: `guidance/units.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..budget import Allotment
from ..config import Config, Gradient
from ..guidance.gradient import gradient
from ..guidance.levels import renoise
from ..guidance.loop import Loop, Need, Seen, Timestep, pick, put
from ..guidance.objectives import Objective, needed, rest, resting, weighted
from ..guidance.observer import Observer
from ..guidance.recurrence import recurrences, recurs
from ..guidance.schedule import Stage, change, stage, weights
from ..guidance.step import Move, failure, move


def dymo(
    loop: Loop, objectives: Sequence[Objective], config: Config, allotment: Allotment | None = None,
    observer: Observer | None = None,
) -> None:  # fmt: skip
    """Run `loop` from noise to image, guided by the objectives. All quantities are per sample."""
    allotment, observer = allotment or Allotment(), observer or Observer()
    before = None  # z0' that Delta compares with
    for now in loop:
        planned = stage(config, now)
        acting = [o for o in objectives if planned in _STAGES_OF[o.needs] and len(resting(o)) < loop.samples]
        through, short = allotment.plan(planned, config.through, now.left) if acting else (config.through, None)
        if short:
            acting = []
        kind: Stage = planned if acting else "unguided"
        observer.begin(now, kind, short)
        rows, granted, rounds = list(range(loop.samples)), [0] * loop.samples, 0
        z = z_next = z0 = None
        while rows:
            with allotment.weighed(kind, through):
                seen = loop.predict(z, rows, _need(acting, config, kind, through))
                if acting:
                    moved = _guide(acting, config, kind, seen, None if before is None else pick(before, rows), observer)
            z_rows = loop.sampler_step(seen)
            z_next = put(z_next, rows, z_rows + moved.displacement if acting else z_rows)
            z0 = put(z0, rows, seen.z0.detach())
            if config.change_since == "evaluation":
                before = z0
            # From pure noise time travel leads to other pure noise: a new seed, in which the gradient is forgotten.
            first = rounds == 0 and bool(acting)
            back = first and now.here.a > 0 and recurs(config, kind)
            read = observer.read(moved.size) if first and (back or allotment.limited) else None
            allotment.count(rows, kind, now.calls)
            if read is not None:
                (sizes,) = read
                r_t = [recurrences(config, kind, size) if back and not failure(size) else 0 for size in sizes]
                granted = allotment.grant(rows, r_t, sizes, now.left - 1, kind, now.calls, now.ahead)
                observer.granted(rows, granted)
            rounds += 1
            rows = [i for i in rows if granted[i] >= rounds]
            if rows:
                z = renoise(pick(z_next, rows), now.there, now.here, loop.noise(rows))
        assert z_next is not None and z0 is not None
        before = z0
        loop.accept(z_next)
        rest(objectives, observer.accepted(z_next, z0))


def rehearse(loop: Loop, objectives: Sequence[Objective], config: Config, steps: Sequence[Timestep]) -> None:
    """One evaluation of each stage that `steps` have, at the level where the loop stands; its results are thrown away.

    What a compiler makes of each is made now, and not in the middle of the run.
    """
    for kind in dict.fromkeys(stage(config, now) for now in steps):
        acting = [o for o in objectives if kind in _STAGES_OF[o.needs]]
        seen = loop.predict(need=_need(acting, config, kind, config.through))
        if acting:
            _guide(acting, config, kind, seen, seen.z0.detach(), Observer())


_STAGES_OF = {"maps": ("semantic", "mixed"), "image": ("mixed", "preference")}


def _need(acting: Sequence[Objective], config: Config, kind: Stage, through: Gradient) -> Need:
    """Which maps and gradients the acting objectives take from the denoiser."""
    # Where w has a gradient, L_A pulls on z0' as well.
    return needed(acting, through, on_z0=kind == "mixed" and config.weights_have_gradient)


def _guide(
    acting: Sequence[Objective], config: Config, kind: Stage, seen: Seen, before: torch.Tensor | None, observer: Observer
) -> Move:  # fmt: skip
    """The displacement of z_{t-1} by the objectives' weighted gradient at what was seen."""
    delta = None
    if kind == "mixed":  # elsewhere the weights do not depend on it
        delta = change(seen.z0 if config.weights_have_gradient else seen.z0.detach(), before, config.change_of)
    w_A, w_R = weights(config, kind, seen.z.new_zeros(len(seen.rows)) if delta is None else delta)
    w, losses = weighted(acting, w_A, w_R, seen)
    g = gradient([w[name] * losses[name] for name in losses], seen)
    moved = move(config, kind, g, seen)
    observer.evaluated(seen, w, losses, moved)
    return moved
