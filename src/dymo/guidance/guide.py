"""One guided run: plan a step, evaluate the objectives, differentiate, move, and decide whether to go again."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import Config
from ..errors import RewardError
from ..trace import Step, Trace
from . import objectives, schedule
from .recurrence import Purse, wanted
from .step import Move, damped, failures, move, norms, polyak_length, residual_length
from .transitions import Level, predict_noise, predict_z0
from .views import views

# Below float16's smallest normal number lie most gradients of a reward with respect to one pixel.
HALF_PRECISION_SCALE = 2.0**12


@dataclass(frozen=True)
class Plan:
    """What a step needs: which objectives, and whether the gradient passes through the denoiser."""

    stage: schedule.Stage
    semantic: bool = False
    preference: bool = False
    through_denoiser: bool = False

    @property
    def guided(self) -> bool:
        return self.semantic or self.preference

    @property
    def graph(self) -> bool:
        """Whether the denoiser must be run with a graph to its input."""
        return self.semantic or self.through_denoiser


@dataclass(frozen=True)
class Clock:
    """Where a step lies: its index and the number of steps, t (0..1000), the levels of z_t and z_{t-1}."""

    index: int
    steps: int
    timestep: float
    here: Level
    there: Level
    done: float
    """Fraction of the whole schedule behind this step (with img2img more than index / steps)."""


@dataclass
class Outcome:
    """What `Guide.evaluate` found for the active samples: the move of z_{t-1}, and who goes again."""

    move: Move
    again: list[int]


@dataclass
class Guide:
    """The method on one batch; knows latents and closures, no pipeline. Per sample everywhere.

    `pairs`: one a sample; `decode`: z0' (B, c, h, w) -> pictures (B, 3, H, W) in [0, 1]; `score`: pictures, sample
    indices, t -> (B,). `words`: per sample, word -> token positions, for the trace.
    """

    config: Config
    pairs: Sequence[objectives.Pairs]
    words: Sequence[dict[str, tuple[int, ...]]]
    decode: Callable[[Tensor], Tensor]
    score: Callable[[Tensor, list[int], float], Tensor] | None
    cosine_scale: float | None
    prediction_type: str
    trace: Trace
    purse: Purse
    on_step: Callable[[Step], None] | None = None
    rows_each: int = 2
    """Rows of the denoiser a sample has: 2 with classifier-free guidance."""

    def __post_init__(self) -> None:
        self.previous_z0: Tensor | None = None
        self.z0: Tensor | None = None
        self.rounds: list[int] = []
        self.record: Step | None = None
        self.warned: set[str] = set()

    @property
    def semantic(self) -> bool:
        """Whether L_A can act at all: it is switched on and some sample has pairs of words."""
        return self.config.semantic_weight > 0 and any(p.positive or p.negative for p in self.pairs)

    @property
    def preference(self) -> bool:
        return self.config.preference_weight > 0 and self.score is not None

    @property
    def active(self) -> bool:
        return self.semantic or self.preference

    def plan(self, clock: Clock) -> Plan:
        """What the step at `clock` needs; unguided when nothing acts there or the time is up."""
        now = schedule.stage(self.config, clock.timestep, clock.done)
        semantic = self.semantic and now in ("semantic", "mixed")
        preference = self.preference and now in ("mixed", "preference")
        if not (semantic or preference):
            return Plan("unguided")
        return Plan(now, semantic, preference, preference and self.config.gradient != "straight-through")

    def begin(self, clock: Clock, plan: Plan, samples: int) -> None:
        """Open the record of a step."""
        none: list[None] = [None] * samples
        self.rounds = [0] * samples
        self.record = Step(
            index=clock.index, timestep=clock.timestep, stage=plan.stage, w_A=[0.0] * samples, w_R=[0.0] * samples,
            L_A=[*none], L_R=[*none], reward=[*none], gradient_norm=[*none], displacement=[*none],
            recurrences=[0] * samples, unguided=[*none],
        )  # fmt: skip

    def observe(self, z: Tensor, output: Tensor, clock: Clock) -> None:
        """Remember the prediction of an unguided step, so that Delta is defined at the next one."""
        self.z0 = predict_z0(z.detach().float(), output.detach().float(), clock.here, self.prediction_type)

    def evaluate(
        self,
        z: Tensor,
        output: Tensor,
        residual: Tensor | None,
        maps: Tensor | None,
        active: list[int],
        plan: Plan,
        clock: Clock,
    ) -> Outcome:
        """One guided evaluation of the samples `active`.

        z, output (B, c, h, w) for the whole batch, `z` with a graph to `output` and `maps` where the plan says so;
        residual eps_cond - eps_uncond (B, ...) or None; maps (len(active), pixels, tokens) or None.
        """
        assert self.record is not None
        rows = torch.tensor(active, device=z.device)
        source = z if z.requires_grad else z.detach().requires_grad_()
        seen = output if plan.through_denoiser else output.detach()
        z0 = predict_z0(source[rows].float(), seen[rows].float(), clock.here, self.prediction_type)
        before = None if self.previous_z0 is None else self.previous_z0[rows]
        w_A, w_R = schedule.weights(
            self.config, plan.stage, schedule.change(z0.detach(), before, self.config.change_of)
        )
        self._note("w_A", active, w_A if plan.semantic else torch.zeros_like(w_A))
        self._note("w_R", active, w_R if plan.preference else torch.zeros_like(w_R))
        loss = z0.new_zeros(len(active))
        if plan.semantic:
            assert maps is not None
            L_A = objectives.semantic_loss(maps.float(), [self.pairs[i] for i in active])
            loss = loss + w_A * L_A
            self._note("L_A", active, L_A)
        if plan.preference:
            L_R = self._preference(z0, active, clock)
            loss = loss + w_R * L_R
            self._note("L_R", active, L_R)
        gradient = self._gradient(loss, source, plan, len(active))[rows].float()
        # In variance-preserving coordinates, so that DDIM and Euler move alike.
        gradient = gradient * clock.here.radius
        why = failures(gradient)
        for i, reason in zip(active, why, strict=True):
            self._fail(i, reason)
        size = norms(gradient)
        usable = torch.tensor([w is None for w in why], device=z.device)
        noise = predict_noise(z.detach()[rows].float(), output.detach()[rows].float(), clock.here, self.prediction_type)
        stage_index = schedule.STAGES.index(plan.stage)
        eta = self.config.eta[stage_index]
        if self.config.step_rule == "residual":
            assert residual is not None
            length = residual_length(eta, residual[rows])
        else:
            length = polyak_length(eta, noise, size)
        length = damped(length, size, self.config.damping)
        made = move(gradient, length, self.config.max_step * norms(noise), usable)
        self._note("displacement", active, made.length)
        again = self._again(active, size.tolist(), stage_index, clock)
        self.z0 = (
            z0.detach() if self.z0 is None or len(active) == z.shape[0] else self.z0.index_copy(0, rows, z0.detach())
        )
        return Outcome(Move(made.displacement * clock.there.radius, made.length), again)

    def accept(self) -> None:
        """Close the record of a step."""
        assert self.record is not None
        self.previous_z0 = self.z0
        self.trace.steps.append(self.record)
        if self.on_step is not None:
            self.on_step(self.record)

    def _preference(self, z0: Tensor, active: list[int], clock: Clock) -> Tensor:
        """L_R of the active samples, (len(active),). Raises RewardError on a wrong shape or a NaN."""
        assert self.score is not None and self.record is not None
        images = self.decode(z0)
        copies = views(images, self.config.views, seed=clock.index)
        scores = []
        for copy in copies:
            score = self.score(copy, active, clock.timestep)
            if not isinstance(score, Tensor) or score.shape != (len(active),):
                got = tuple(score.shape) if isinstance(score, Tensor) else type(score).__name__
                raise RewardError(
                    f"the reward returned {got} for {len(active)} pictures: it must return a tensor ({len(active)},)"
                )
            if not torch.isfinite(score).all():
                raise RewardError(
                    f"the reward returned {score.tolist()} at t = {clock.timestep:g}: scores must be finite"
                )
            if not score.requires_grad:
                raise RewardError(
                    "the reward's score has no gradient to the pictures: it cannot guide (is it under no_grad?)"
                )
            scores.append(score.float())
        self.trace.cost.decodes += len(active)
        self.trace.cost.reward_calls += len(active) * len(copies)
        self._note("reward", active, scores[0])
        return objectives.preference_loss(
            torch.stack(scores), self.config.preference_form, self.config.tau, self.cosine_scale
        )

    def _gradient(self, loss: Tensor, source: Tensor, plan: Plan, samples: int) -> Tensor:
        """d(sum of losses)/dz, (B, ...): samples do not mix, so each row is its own sample's gradient."""
        if not loss.requires_grad:
            return torch.zeros_like(source)
        scale = HALF_PRECISION_SCALE if source.dtype == torch.float16 else 1.0
        (gradient,) = torch.autograd.grad(loss.sum() * scale, source)
        if plan.graph:
            split = (plan.semantic and not plan.through_denoiser) or self.config.gradient == "conditional"
            self.trace.cost.denoiser_backwards += samples * (1 if split else self.rows_each)
        return gradient.float() / scale

    def _again(self, active: list[int], sizes: list[float], stage_index: int, clock: Clock) -> list[int]:
        """The samples among `active` that travel back once more."""
        assert self.record is not None
        left = clock.steps - clock.index - 1
        again = []
        for i, size in zip(active, sizes, strict=True):
            if self.rounds[i] == 0:
                want = 0 if self.record.unguided[i] else wanted(self.config, stage_index, size)
                self.record.gradient_norm[i] = size if size == size and abs(size) != float("inf") else None
                self.record.recurrences[i] = self.purse.grant(i, want, size, left)
            if self.rounds[i] < self.record.recurrences[i]:
                self.rounds[i] += 1
                again.append(i)
        return again

    def _fail(self, sample: int, reason: str | None) -> None:
        assert self.record is not None
        self.record.unguided[sample] = reason
        if reason is None:
            return
        words = self.pairs[sample].positive or self.pairs[sample].negative
        if reason == "zero" and not (self.record.w_A[sample] and words) and not self.record.w_R[sample]:
            return  # No weight on anything here: there was nothing to follow.
        self.trace.failures[reason] = self.trace.failures.get(reason, 0) + 1
        if reason not in self.warned:
            self.warned.add(reason)
            warnings.warn(
                f"the gradient is {reason} at t = {self.record.timestep:g}: that sample's step is left unguided "
                "(said once; the trace counts them)", RuntimeWarning, stacklevel=2,
            )  # fmt: skip

    def _note(self, name: str, active: list[int], values: Tensor) -> None:
        column = getattr(self.record, name)
        for i, value in zip(active, values.detach().float().tolist(), strict=True):
            column[i] = value

    def note_maps(self, maps: Tensor, active: list[int], side: tuple[int, int]) -> None:
        """Put the words' maps (len(active), pixels, tokens) into the trace."""
        assert self.record is not None
        found = self.trace.maps.setdefault(self.record.index, {})
        for sample, i in zip(maps.detach().float(), active, strict=True):
            for word, indices in self.words[i].items():
                one = objectives.word_map(sample, indices)
                found[f"{i}:{word}"] = (one / one.max().clamp_min(1e-12)).reshape(side).cpu().numpy().round(3).tolist()
