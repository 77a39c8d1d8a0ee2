"""What generates and measures the images of a comparison."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from PIL import Image

from .. import Budget
from ..errors import ConfigError, DyMOError, RewardError, first_line
from ..methods import load_method
from ..pipelines.checks import check_arguments
from ..pipelines.size import whole_size
from ..pipelines.variants import variant
from ..pixels import from_pil, to_pil
from ..prompt.reading import read
from ..report.png import png_bytes
from ..rewards import Reward, load_reward
from .flops import flop_counter
from .identity import digest
from .plan import Comparison
from .reading import located
from .rows import JUDGE, RowSpec
from .store import Key, Store

LoadPipeline = Callable[[str], Any]  # an id, a folder or "miniature" -> the pipeline, on its device, ready
SHARED = ("seconds", "denoiser_rows", "denoiser_backwards", "decodes", "reward_calls")
"""Parts of a batch's cost that are divided among its images."""
COUNTED = 2  # trajectories of the run whose operations are counted, for a row whose budget is not its own


class CallError(ConfigError):
    """The arguments of a row's call are not those of its pipeline."""


class Worker:
    """Generates and measures the images of a comparison; what is loaded is kept from one to the next.

    Metrics and rewards are loaded here. Raises ConfigError where one cannot be: before the first image.
    """

    def __init__(self, plan: Comparison, store: Store, load: LoadPipeline, device: str = "cpu"):
        self.plan, self.store, self.load, self.device = plan, store, load, device
        self._pipes: dict[str, Any] = {}
        self._variant: tuple[tuple, Any] | None = None
        self._open = ExitStack()
        on_device = partial(load_reward, device=device)
        self.metrics: dict[str, Reward] = {name: _loaded("metric", name, on_device) for name in plan.metrics}
        rewards = {json.dumps(spec): spec for row in plan.rows if (spec := plan.reward_of(row))}
        self._rewards: dict[str, Reward] = {k: _loaded("reward", v, load_reward) for k, v in rewards.items()}

    def close(self) -> None:
        """Take a row's trained weights out of the pipeline again."""
        self._variant = None
        self._open.close()

    def generate(self, row: RowSpec, keys: Sequence[Key]) -> None:
        """Put the images of `keys`, all of one seed, into the store. Raises DyMOError where the row cannot be run, and CallError
        where none of its images could be.
        """
        pipe = self._pipe(row)
        try:
            check_arguments(type(pipe), self.plan.call_of(row))
            whole_size(pipe, self.plan.call_of(row))
        except ConfigError as error:
            raise CallError(f"call, row {row.name!r}: ", error) from error
        flops = self._flops(row)
        for budget, those in self._budgets(row, keys, flops).items():
            made = self._run(row, [key.prompt for key in those], those[0].seed, budget)
            cost = made.trace.cost
            shared = {name: getattr(cost, name) / len(those) for name in SHARED}
            shared |= {"peak_mb": cost.peak_bytes and cost.peak_bytes / 1e6, "failures": made.trace.failures}
            for key, image, evaluations in zip(those, to_pil(made.images), made.trace.evaluations, strict=True):
                said = {"prompt": key.prompt, "seed": key.seed, "row": row.name, "method": row.method}
                spent = {"evaluations": int(evaluations), "tflop": int(evaluations) * flops / 1e12}
                self.store.put(key, {**said, **spent, **shared, "scores": {}}, png_bytes(image, data=said))

    def measure(self, keys: Sequence[Key]) -> None:
        """Add to the records of `keys` the scores of the metrics that have not scored them.

        Raises RewardError where a score is not finite, which is not kept; all others are.
        """
        wrong = []
        records = {key: record for key in keys if (record := self.store.record(key)) is not None}
        for name, metric in self.metrics.items():
            missing = [key for key, record in records.items() if not has_score(record, scores_of(name))]
            if missing:
                images = from_pil(Image.open(self.store.image_path(key)) for key in missing).to(self.device)
                with torch.no_grad():
                    scores = metric.score(images, [read(key.prompt).text for key in missing]).float()
                for key, score in zip(missing, (scores * (100 if name == JUDGE else 1)).tolist(), strict=True):
                    if not math.isfinite(score):
                        wrong.append(not_finite(name, score))
                        continue
                    records[key]["scores"][scores_of(name)] = score
                    self.store.put(key, records[key])
        if wrong:
            raise RewardError("; ".join(wrong))

    def _run(self, row: RowSpec, prompts: list[str], seed: int, budget: Budget | None) -> Any:
        # Generators on the CPU, so that a seed gives the same image on every device; one each, so that the batch does not matter.
        generators = [torch.Generator("cpu").manual_seed(seed) for _ in prompts]
        method, spec = load_method(row.method, **row.settings), self.plan.reward_of(row)
        reward = self._rewards[json.dumps(spec)] if spec else None
        pipe = self._pipe(row)
        call = {**whole_size(pipe, self.plan.call_of(row)), "output_type": "pt"}
        return method.run(pipe, prompts, reward, budget=budget, generator=generators, **call)

    def _flops(self, row: RowSpec) -> float:
        """Floating-point operations of an evaluation of this row, of all that the run did divided by its evaluations.

        Counted once, on an image that is not kept: what only the first image pays (kernels, buffers) is then over.
        """
        name = f"flops:{self.plan.hash_of(row)}"
        if (known := self.store.noted(name)) is None:
            steps = self.plan.call_of(row).get("num_inference_steps") or 50
            budget = Budget(evaluations=COUNTED * steps) if row.match or row.budget else None
            with flop_counter() as counter:
                made = self._run(row, [self.plan.prompts[0]], 0, budget)
            known = counter.get_total_flops() / max(1, int(made.trace.evaluations[0]))
            self.store.note(name, known)
        return known

    def _pipe(self, row: RowSpec) -> Any:
        """The row's pipeline with the row's trained weights and sampler in it."""
        name = row.pipeline or self.plan.pipeline
        if name not in self._pipes:
            self._pipes[name] = self.load(name)
        unet = row.unet or self.plan.unet
        loras = [(located(source), strength) for source, strength in self.plan.loras_of(row)]
        wanted = (name, unet, row.scheduler, *loras)
        if self._variant is None or wanted != self._variant[0]:
            self.close()
            unet = unet and located(unet)
            self._variant = wanted, self._open.enter_context(variant(self._pipes[name], unet, loras, row.scheduler))
        return self._variant[1]

    def _budgets(self, row: RowSpec, keys: Sequence[Key], flops: float) -> dict[Budget | None, list[Key]]:
        """The row's own budget, or what the other row spent: of seconds on all these images, else on each of them."""
        steps = self.plan.call_of(row).get("num_inference_steps") or 1
        if row.budget is not None:
            trajectories = row.budget.trajectories
            return {Budget(row.budget.evaluations or (trajectories and trajectories * steps), row.budget.seconds): list(keys)}
        if row.match is None:
            return {None: list(keys)}
        base = self.plan.hash_of(self.plan.row(row.match.row))
        spent = [self.store.record(key._replace(configuration=base)) for key in keys]
        there = [record for record in spent if record is not None]
        if len(there) < len(keys):
            raise ConfigError(f"row {row.name!r}: the image of {row.match.row!r} that sets its budget is not there")
        if row.match.by == "seconds":
            return {Budget(seconds=sum(record["seconds"] for record in there)): list(keys)}
        each: dict[Budget | None, list[Key]] = defaultdict(list)
        for key, record in zip(keys, there, strict=True):
            wanted = record["evaluations"] if row.match.by == "evaluations" else record["tflop"] * 1e12 / flops
            each[Budget(evaluations=-int(-wanted // steps) * steps)].append(key)
        return each


def scores_of(metric: str) -> str:
    """The name of a metric in the store: with its weights, where they can change under it."""
    version = digest(metric)
    return f"{metric}@{version}" if version else metric


def has_score(record: Mapping[str, Any], stored: str) -> bool:
    """Whether an image has a score under this name. One that is not finite, in a store of an earlier release, is none."""
    score = record["scores"].get(stored)
    return score is not None and math.isfinite(score)


def not_finite(metric: str, score: float) -> str:
    """What is said of a score that no mean can be taken of."""
    return f"metric {metric} gave {score}"


def _loaded(kind: str, spec: Any, load: Callable[[Any], Any]) -> Any:
    try:
        return load(spec)
    except (DyMOError, OSError) as error:
        why = error if isinstance(error, DyMOError) else first_line(error)
        raise ConfigError(f"the {kind} {spec!r} cannot be loaded: ", why, ". Nothing was generated: mend it, or leave it out") from error
