"""One guided run: plan a step, evaluate the objectives, differentiate, move, and decide whether to go again."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import Config
from ..errors import ConfigError, RewardError, RewardHackingWarning
from ..trace import Step, Trace
from . import objectives, schedule
from .conflict import without_conflict
from .recurrence import Purse, wanted
from .step import Move, damped, failures, move, norms, polyak_length, residual_length
from .transitions import Level, predict_noise, predict_z0
from .views import views
from .watch import Watch

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
    indices, t -> (B,), or (K, B) for the summands of K rewards whose gradients are not to work against each other.
    `words`: per sample, word -> token positions, for the trace. `watch`: held-out rewards.
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
    watch: Watch | None = None
    rows_each: int = 2
    """Rows of the denoiser a sample has: 2 with classifier-free guidance."""

    def __post_init__(self) -> None:
        self.previous_z0: Tensor | None = None
        self.z0: Tensor | None = None
        self.rounds: list[int] = []
        self.record: Step | None = None
        self.warned: set[str] = set()
        self.pictures: dict[int, Tensor] = {}
        self.stopped: set[int] = set()

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
        preference = self.preference and now in ("mixed", "preference") and len(self.stopped) < len(self.pairs)
        if not (semantic or preference):
            return Plan("unguided")
        return Plan(now, semantic, preference, preference and self.config.gradient != "straight-through")

    def begin(self, clock: Clock, plan: Plan, samples: int) -> None:
        """Open the record of a step."""
        none: list[None] = [None] * samples
        self.rounds = [0] * samples
        self.pictures = {}
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
        w_R = w_R * w_R.new_tensor([i not in self.stopped for i in active])
        self._note("w_A", active, w_A if plan.semantic else torch.zeros_like(w_A))
        self._note("w_R", active, w_R if plan.preference else torch.zeros_like(w_R))
        losses = []
        if plan.semantic:
            assert maps is not None
            L_A = objectives.semantic_loss(maps.float(), [self.pairs[i] for i in active])
            losses.append(w_A * L_A)
            self._note("L_A", active, L_A)
        conflicting: list[Tensor] = []
        if plan.preference:
            L_R = self._preference(z0, active, clock)
            self._note("L_R", active, L_R.sum(0))
            (losses if len(L_R) == 1 else conflicting).extend(w_R * part for part in L_R)
        gradient = self._gradients(losses, conflicting, source, plan, len(active))[rows].float()
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
            if residual is None:
                raise ConfigError(
                    "step_rule='residual' measures its steps by classifier-free guidance, and there is none: give "
                    "guidance_scale= above 1, or set step_rule='polyak'"
                )
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

    def out_of_time(self, samples: int) -> None:
        """Count and tell of a step that is left unguided because the budget's seconds are spent."""
        self.trace.failures["budget"] = self.trace.failures.get("budget", 0) + samples
        if "budget" not in self.warned:
            self.warned.add("budget")
            warnings.warn(
                "the budget's seconds are spent: the remaining steps are left unguided (the trace counts them); give "
                "more seconds, fewer steps, or Budget(evaluations=)", RuntimeWarning, stacklevel=2,
            )  # fmt: skip

    def accept(self) -> None:
        """Close the record of a step."""
        assert self.record is not None
        self.previous_z0 = self.z0
        if self.watch is not None and self.pictures:
            self._watched(self.watch, self.record)
        self.trace.steps.append(self.record)
        if self.on_step is not None:
            self.on_step(self.record)

    def _preference(self, z0: Tensor, active: list[int], clock: Clock) -> Tensor:
        """L_R of the active samples, by summand of the reward (mostly one), (K, len(active)); 0 for those stopped.

        Raises RewardError on a wrong shape or a NaN.
        """
        assert self.score is not None and self.record is not None
        kept = [k for k, i in enumerate(active) if i not in self.stopped]
        if not kept:
            return z0.new_zeros(1, len(active))
        places, active_kept = torch.tensor(kept, device=z0.device), [active[k] for k in kept]
        images = self.decode(z0 if len(kept) == len(active) else z0[places])
        if self.watch is not None:
            self.pictures |= zip(active_kept, images.detach(), strict=True)
        copies = views(images, self.config.views, seed=clock.index)
        scores = torch.stack([self._scored(copy, active_kept, clock) for copy in copies])
        self.trace.cost.decodes += len(kept)
        self.trace.cost.reward_calls += len(kept) * len(copies)
        self._note("reward", active_kept, scores[0].sum(0))
        losses = objectives.preference_loss(scores, self.config.preference_form, self.config.tau, self.cosine_scale)
        return losses.new_zeros(len(losses), len(active)).index_copy(1, places, losses)

    def _scored(self, images: Tensor, samples: list[int], clock: Clock) -> Tensor:
        """The reward of pictures (n, 3, H, W), by summand, (K, n). Raises RewardError where it cannot guide."""
        assert self.score is not None
        score = self.score(images, samples, clock.timestep)
        if not isinstance(score, Tensor) or score.ndim not in (1, 2) or score.shape[-1] != len(samples):
            got = tuple(score.shape) if isinstance(score, Tensor) else type(score).__name__
            raise RewardError(
                f"the reward returned {got} for {len(samples)} pictures: it must return a tensor ({len(samples)},)"
            )
        if not torch.isfinite(score).all():
            raise RewardError(f"the reward returned {score.tolist()} at t = {clock.timestep:g}: scores must be finite")
        if not score.requires_grad:
            raise RewardError(
                "the reward's score has no gradient to the pictures: it cannot guide (is it under no_grad?)"
            )
        return score.float().view(-1, len(samples))

    def _watched(self, watch: Watch, record: Step) -> None:
        """Score the held-out rewards on the accepted predictions, and hear what they say."""
        samples = sorted(self.pictures)
        pictures = torch.stack([self.pictures[i] for i in samples])
        scores = watch.score(pictures, samples, record.timestep)
        for name, values in scores.items():
            column: list[float | None] = [None] * len(record.reward)
            for i, value in zip(samples, values, strict=True):
                column[i] = value
            record.watched[name] = column
        for i, mean in zip(samples, watch.mean(scores), strict=True):
            reward = record.reward[i]
            if reward is not None and watch.hear(i, record.index, reward, mean):
                self.trace.hacked[i] = record.index
                if watch.action == "stop":
                    self.stopped.add(i)
                self._warn_of_hacking(watch, record)

    def _warn_of_hacking(self, watch: Watch, record: Step) -> None:
        if "hacking" in self.warned:
            return
        self.warned.add("hacking")
        remedy = {
            "warn": "lower eta or max_step, guide by several rewards, or set on_hacking='stop' or 'best'",
            "stop": "it steers those pictures no more",
            "best": "the better of the two ends is returned",
        }
        warnings.warn(
            f"the guide rises while {', '.join(watch.scorers)} falls, at t = {record.timestep:g}: this is reward hacking; "
            f"{remedy[watch.action]} (said once; trace.hacked has every picture)", RewardHackingWarning, stacklevel=2,
        )  # fmt: skip

    def _gradients(
        self, losses: list[Tensor], conflicting: list[Tensor], source: Tensor, plan: Plan, samples: int
    ) -> Tensor:
        """d(sum of the losses)/dz plus those of the `conflicting` ones without their conflicts, (B, ...)."""
        gradient = torch.zeros_like(source, dtype=torch.float32)
        if losses:
            gradient = self._gradient(sum(losses), source, plan, samples, keep=bool(conflicting))
        if conflicting:
            parts = [
                self._gradient(part, source, plan, samples, keep=k < len(conflicting) - 1)
                for k, part in enumerate(conflicting)
            ]
            gradient = gradient + without_conflict(torch.stack(parts))
        return gradient

    def _gradient(self, loss: Tensor, source: Tensor, plan: Plan, samples: int, keep: bool = False) -> Tensor:
        """d(sum of losses)/dz, (B, ...): samples do not mix, so each row is its own sample's gradient.

        keep: the graph is needed once more.
        """
        if not loss.requires_grad:
            return torch.zeros_like(source)
        scale = HALF_PRECISION_SCALE if source.dtype == torch.float16 else 1.0
        (gradient,) = torch.autograd.grad(loss.sum() * scale, source, retain_graph=keep)
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
