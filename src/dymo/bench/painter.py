"""The pictures of a bench run: a row's method on its pipeline, measured."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import ConfigError
from ..guidance.recurrence import Budget
from ..methods import load_method
from ..pipelines.variants import variant
from ..prompt import parse
from ..rewards import Reward, load_reward
from .metrics import Metric, shard_of
from .plan import Plan, Row
from .store import Key, Store

LoadPipeline = Callable[[str], Any]
"""An id, a folder or "miniature" -> the pipeline, on its device, ready."""


class Painter:
    """Paints and measures the pictures of a plan, with what is loaded kept from one to the next."""

    def __init__(self, plan: Plan, store: Store, load: LoadPipeline, metrics: dict[str, Metric]):
        self.plan, self.store, self.load, self.metrics = plan, store, load, metrics
        self._pipes: dict[str, Any] = {}
        self._rewards: dict[str, Reward] = {}
        self._warm: set[tuple[int, int]] = set()
        self._variant: tuple | None = None
        self._open = ExitStack()

    def close(self) -> None:
        """Take a row's trained weights out of the pipeline again."""
        self._variant = None
        self._open.close()

    def paint(self, row: Row, keys: Sequence[Key]) -> None:
        """Paint `keys`, all of one seed, by `row` into the store. Raises DyMOError where the row cannot be painted."""
        pipe, reward = self._pipe(row), self._reward(row)
        method = load_method(row.method, **row.settings)
        call = {k: v for k, v in {**self.plan.call, **row.call}.items() if v is not None} | {"output_type": "pt"}
        self._warm_up(pipe, reward, call)
        # On the CPU, so that a seed paints the same picture on every device; one each, so that the batch is of no account.
        generators = [torch.Generator("cpu").manual_seed(key.seed) for key in keys]
        texts = [key.prompt for key in keys]
        made = method.run(pipe, texts, reward, self._budget(row, keys), generators, **call)
        cost, n = made.trace.cost, len(keys)
        for i, key in enumerate(keys):
            self.store.put(key, {
                "row": row.name, "method": row.method, "png": png(made.images[i]), "evaluations": int(made.trace.evaluations[i]),
                "denoiser_rows": cost.denoiser_rows / n, "denoiser_backwards": cost.denoiser_backwards / n,
                "decodes": cost.decodes / n, "reward_calls": cost.reward_calls / n, "seconds": cost.seconds / n,
                "peak_bytes": cost.peak_bytes, "failures": json.dumps(made.trace.failures),
                "settings": json.dumps(self.plan.settings_of(row), default=str),
            })  # fmt: skip

    def measure(self, keys: Sequence[Key]) -> None:
        """Score pictures of the store, all of one row, by the metrics that have not scored them."""
        found: dict[Key, bytes] = {}
        for name, metric in self.metrics.items():
            missing = [key for key in keys if not self.store.has(key, shard_of(name))]
            for key in missing:
                if key not in found and (picture := self.store.get(key)) is not None:
                    found[key] = picture["png"]
            there = [key for key in missing if key in found]
            if not there:
                continue
            scores = metric(pixels([found[key] for key in there]), [key.prompt for key in there])
            for key, score in zip(there, scores, strict=True):
                self.store.put(key, {"metric": name, "score": score}, shard_of(name))

    def _warm_up(self, pipe: Any, reward: Reward | None, call: dict[str, Any]) -> None:
        """What only the first picture of a process pays (a parser's model, kernels, buffers) belongs to none of them."""
        if (id(pipe), id(reward)) in self._warm:
            return
        self._warm.add((id(pipe), id(reward)))
        text = self.plan.prompts[0]
        parse(text)
        with torch.no_grad():
            images = pipe(text, **{**call, "num_inference_steps": 2}).images
            if reward is not None:
                reward.to(images.device).score(images.float(), [text])

    def _pipe(self, row: Row) -> Any:
        """The row's pipeline with the row's trained weights in it."""
        name = row.pipeline or self.plan.pipeline
        if name not in self._pipes:
            self._pipes[name] = self.load(name)
        pipe = self._pipes[name]
        wanted = (name, row.unet or self.plan.unet, row.lora or self.plan.lora)
        if wanted != self._variant:
            self.close()
            self._open.enter_context(variant(pipe, *wanted[1:]))
            self._variant = wanted
        return pipe

    def _reward(self, row: Row) -> Reward | None:
        wanted = self.plan.reward if row.reward is None else row.reward
        if not wanted:
            return None
        name = json.dumps(wanted, sort_keys=True)
        if name not in self._rewards:
            self._rewards[name] = load_reward(wanted)
        return self._rewards[name]

    def _budget(self, row: Row, keys: Sequence[Key]) -> Budget | None:
        """The row's own, or what the other row spent on these pictures: the most evaluations, and all seconds."""
        if row.budget is not None:
            return Budget(**row.budget)
        if row.match is None:
            return None
        spent = [self.store.get(base_key(self.plan, row, key)) for key in keys]
        there = [found for found in spent if found is not None]
        if len(there) < len(keys):
            raise ConfigError(f"row {row.name!r}: the picture of {row.match.row!r} that sets its budget is not there")
        if row.match.by == "seconds":
            return Budget(seconds=sum(found["seconds"] for found in there))
        steps = {**self.plan.call, **row.call}.get("num_inference_steps") or 1
        return Budget(evaluations=-(-max(found["evaluations"] for found in there) // steps) * steps)


def base_key(plan: Plan, row: Row, key: Key) -> Key:
    """The key of the picture that `row` takes its budget from."""
    assert row.match is not None
    return Key(plan.hash_of(plan.row(row.match.row)), key.prompt, key.seed)


def png(image: Tensor) -> bytes:
    """The PNG file of a picture (3, H, W) in [0, 1]."""
    array = image.detach().float().clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()


def pixels(files: Sequence[bytes]) -> Tensor:
    """PNG files of equal size -> (B, 3, H, W) in [0, 1]."""
    arrays = [np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float() / 255
