"""Writes a run's trace, and tells its listeners, from what the algorithm says of itself."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..errors import RewardHackingWarning, RunWarning
from ..events import Accepted, Evaluated, Event, Listener, tell
from ..guidance.loop import Rows, Seen, Timestep
from ..guidance.objectives import word_map
from ..guidance.observer import Observer
from ..guidance.schedule import Stage
from ..guidance.step import Move, failure, norms, per_sample
from ..guidance.watch import Watch
from ..parts import Limit, Name, Set, Setting
from ..trace import Step, Trace
from .lost import check_lengths

log = logging.getLogger(__name__)

Place = Callable[[list[float]], None]


@dataclass
class _Sent:
    """Values on their way to the host, in one transfer, and the steps that are ended once they are there."""

    values: Tensor
    arrived: torch.cuda.Event | None
    """None: they are there."""
    places: list[tuple[int, Place]]
    """How many go where."""
    ended: list[tuple[Step, Tensor]]


class Recorder(Observer):
    """The observer of one run. Values reach the host in one transfer a step: where the algorithm itself reads, or, where it
    does not, while the next step is already on its way.

    words: per sample, word -> token positions. decode: z0' -> images, for previews.
    """

    def __init__(
        self, trace: Trace, listeners: Sequence[Listener], words: Sequence[Mapping[str, tuple[int, ...]]], record_maps: bool,
        decode: Callable[[Tensor], Tensor], watch: Watch | None,
    ):  # fmt: skip
        self.trace, self.listeners, self.words, self.record_maps = trace, listeners, words, record_maps
        self.decode, self.watch = decode, watch
        self.resting: set[int] = set()
        self.step = Step(0, 0.0, "unguided")
        self._there = 1.0
        """Length of an entry of noise at the level that the step leads to."""
        self._steered = False
        self.images: dict[int, Tensor] = {}
        self.evaluation = 0
        self._unread: list[tuple[Tensor, Place]] = []
        self._later: list[tuple[Tensor, Place]] = []
        """What goes with the next step's transfer, so that this one's end can be told where all else has been read."""
        self._ended: list[tuple[Step, Tensor]] = []
        self._sent: list[_Sent] = []
        self._was_read = False
        self._said: set[str] = set()

    def emit(self, event: Event) -> None:
        """Tell every listener."""
        tell(self.listeners, event)

    def begin(self, now: Timestep, stage: Stage, short: str | None) -> None:
        self._next()
        n = len(self.trace.prompts)
        none: list[Any] = [None] * n
        self.step = Step(
            now.index, now.t, stage, {}, {}, [*none], [*none], [*none], [0] * n, ["budget" if short else None] * n
        )
        self.evaluation, self.images, self._was_read, self._there = 0, {}, False, now.there.radius
        if short:
            self.trace.failures["budget"] = self.trace.failures.get("budget", 0) + n
            instead = ": the remaining steps are left unguided" if stage == "unguided" else " for a gradient: draws are compared"
            self._warn(
                "budget", RunWarning(
                    f"the budget's {short} do not suffice{instead} (the trace counts them); give more {short}, ",
                    ("fewer steps, or ", Limit("evaluations")) if short == "seconds" else ("or ", Setting("checkpointing", True)),
                ),
            )  # fmt: skip

    def evaluated(
        self, seen: Seen, weights: Mapping[str, Tensor], losses: Mapping[str, Tensor], moved: Move | None, best: Tensor | None = None
    ) -> None:  # fmt: skip
        step, rows, n = self.step, seen.rows, len(self.trace.prompts)
        best = None if self.evaluation == 0 else best  # the first one holds until there is a better one
        for name in losses:
            loss = losses[name] if losses[name].ndim == 1 else losses[name].sum(0)
            self._keep(step.weights.setdefault(name, [0.0] * n), rows, weights[name], best)
            self._keep(step.losses.setdefault(name, [None] * n), rows, loss, best)
        if "reward" in seen.notes:
            self._keep(step.reward, rows, seen.notes["reward"], best)
        if moved is not None:
            if self.evaluation == 0:
                self._keep(step.gradient_norm, rows, moved.size)
            self._keep(step.displacement, rows, moved.length, best)
            self._unread.append((moved.size, lambda sizes: self._failed(step, rows, sizes)))
        if self.watch is not None and "reward" in seen.notes:
            images = seen.images.detach().clamp(0, 1)
            if best is not None:
                images = torch.where(per_sample(best, images), images, torch.stack([self.images.get(i, images[k]) for k, i in enumerate(rows)]))
            self.images |= {i: image for i, image in zip(rows, images, strict=True) if i not in self.resting}
        if self.record_maps and seen.maps is not None:
            self._maps(step, seen, best)
        if self.listeners:
            self.emit(Evaluated(step.index, step.timestep, self.evaluation))
        self.evaluation += 1

    def read(self, *values: Tensor) -> list[list[float]]:
        found: list[list[float]] = []
        self._unread += [(value, found.append) for value in values]
        self._send()
        while self._sent:
            self._receive()
        self._was_read = True
        return found

    def granted(self, rows: Rows, recurrences: list[int]) -> None:
        for i, r in zip(rows, recurrences, strict=True):
            self.step.recurrences[i] = r

    def chosen(self, step: Tensor, z0: Tensor) -> None:
        (indices,) = self.read(step)
        last = self.step
        for i, index in enumerate(map(int, indices)):
            if index == last.index:
                continue
            earlier = self.trace.steps[index]
            for name in last.losses:
                acted = name in earlier.losses
                last.weights[name][i] = earlier.weights[name][i] if acted else 0.0
                last.losses[name][i] = earlier.losses[name][i] if acted else None
            last.reward[i], last.displacement[i] = earlier.reward[i], earlier.displacement[i]
            if i in self.images:
                self.images[i] = self.decode(z0[i : i + 1])[0].clamp(0, 1)

    def accepted(self, z: Tensor, z0: Tensor) -> set[int]:
        if self.watch is not None and self.images:
            self.read()
            self._watch(self.watch, self.step)
        self.trace.steps.append(self.step)
        self._steered |= self.evaluation > 0
        if self._steered:
            noise = math.sqrt(z[0].numel())
            check = partial(check_lengths, self.trace.steps[:], noise)
            (self._later if self._was_read else self._unread).append((norms(z) / (self._there * noise), check))
        self._ended.append((self.step, z0))
        if self._unread and self._was_read:  # one transfer a step: the rest goes with the next
            return self.resting
        self._send()
        # The host goes on by one step before it waits for what this one gave.
        while self._sent and (len(self._sent) > 1 or self._sent[0].arrived is None):
            self._receive()
        return self.resting

    def finish(self) -> None:
        """Read what is left, and tell of the last steps."""
        self._next()
        self.read()

    def _next(self) -> None:
        """From here on what was kept for the next transfer waits for it."""
        self._unread, self._later = [*self._unread, *self._later], []

    def _send(self) -> None:
        """Bring to the host what is not yet there; it arrives in its own time."""
        unread, self._unread = self._unread, []
        ended, self._ended = self._ended, []
        values, arrived = torch.empty(0), None
        if unread:
            values = torch.cat([tensor.detach().float() for tensor, _ in unread])
            if values.is_cuda:
                values, arrived = values.to("cpu", non_blocking=True), torch.cuda.Event()
                arrived.record()
        self._sent.append(_Sent(values, arrived, [(len(tensor), place) for tensor, place in unread], ended))

    def _receive(self) -> None:
        """Wait for what was sent first, put it into the trace, and tell of the steps that ended with it."""
        sent = self._sent.pop(0)
        if sent.arrived is not None:
            sent.arrived.synchronize()
        flat, at = sent.values.tolist() if sent.places else [], 0
        for length, place in sent.places:
            place(flat[at : at + length])
            at += length
        for step, z0 in sent.ended:
            log.debug("step %d, t = %g, %s: recurrences %s", step.index, step.timestep, step.stage, step.recurrences)
            if self.listeners:
                maps = self.trace.maps.get(step.index, {})
                self.emit(Accepted(step, lambda z0=z0: self.decode(z0).clamp(0, 1), maps))  # type: ignore[misc]

    def _keep(self, column: list[Any], rows: Rows, values: Tensor, best: Tensor | None = None) -> None:
        """The values (n,) go into the column, those of the samples that are `best` alone, once they are on the host."""

        def place(found: list[float]) -> None:
            for i, value, good in zip(rows, found, found[len(rows) :] or [1.0] * len(rows), strict=False):
                if good:
                    column[i] = value if math.isfinite(value) else None

        self._unread.append((values if best is None else torch.cat([values.float(), best.float()]), place))

    def _failed(self, step: Step, rows: Rows, sizes: list[float]) -> None:
        for i, size in zip(rows, sizes, strict=True):
            reason = step.unguided[i] = failure(size)
            if reason is None:
                continue
            heavy = [step.weights[name][i] for name in step.losses]
            if reason == "zero" and not any(heavy):
                continue  # No weight on anything here: there was nothing to follow.
            self.trace.failures[reason] = self.trace.failures.get(reason, 0) + 1
            self._warn(
                reason, RunWarning(
                    f"the gradient is {reason} at t = {step.timestep:g}: that sample's step is left unguided (said once; the trace counts them)"
                ),
            )  # fmt: skip

    def _warn(self, key: str, warning: RunWarning) -> None:
        if key not in self._said:
            self._said.add(key)
            warnings.warn(warning, stacklevel=4)

    def _maps(self, step: Step, seen: Seen, best: Tensor | None) -> None:
        assert seen.maps is not None
        found = self.trace.maps.setdefault(step.index, {})
        for sample, i, good in zip(seen.maps.detach(), seen.rows, [True] * len(seen.rows) if best is None else best.tolist(), strict=True):
            if not good:
                continue
            for word, indices in self.words[i].items():
                one = word_map(sample, indices)
                one = one / one.max().clamp_min(1e-12)
                found[f"{i}:{word}"] = one.reshape(seen.grid).cpu().numpy().round(3).tolist()

    def _watch(self, watch: Watch, step: Step) -> None:
        """Score the held-out rewards on the accepted predictions, and note where they contradict the guide."""
        samples = sorted(self.images)
        scores = watch.score(torch.stack([self.images[i] for i in samples]), samples, step.timestep)
        for name, values in scores.items():
            step.watched[name] = [None] * len(step.reward)
            for i, value in zip(samples, values, strict=True):
                step.watched[name][i] = value
        for i, mean in zip(samples, watch.mean(scores), strict=True):
            reward = step.reward[i]
            if reward is None or not watch.contradicts(i, step.index, reward, mean):
                continue
            self.trace.hacked[i] = step.index
            if watch.action == "stop":
                self.resting.add(i)
            remedy = {
                "warn": (
                    "lower ", Name(Setting("eta")), " or ", Name(Setting("max_step")), ", guide by several rewards, or ",
                    Set(Setting("on_hacking", "stop")), " or 'best'",
                ),
                "stop": ("the reward steers those images no more",),
                "best": ("the better of the two ends is returned",),
            }[watch.action]
            self._warn(
                "hacking", RewardHackingWarning(
                    f"the guide rises while {', '.join(watch.scorers)} falls, at t = {step.timestep:g}: this is reward hacking; ", remedy,
                    " (said once; trace.hacked has every image)",
                ),
            )  # fmt: skip
