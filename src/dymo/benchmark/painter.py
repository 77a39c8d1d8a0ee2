"""One picture of a benchmark: the row's method on its pipeline, measured."""

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
        self._variant: tuple | None = None
        self._open = ExitStack()

    def close(self) -> None:
        """Take a row's trained weights out of the pipeline again."""
        self._variant = None
        self._open.close()

    def paint(self, row: Row, key: Key) -> None:
        """Paint `key` by `row` into the store. Raises DyMOError where the row cannot be painted."""
        pipe = self._pipe(row)
        method = load_method(row.method, **row.settings)
        call = {k: v for k, v in {**self.plan.call, **row.call}.items() if v is not None} | {"output_type": "pt"}
        # On the CPU, so that a seed paints the same picture on every device.
        generator = torch.Generator("cpu").manual_seed(key.seed)
        made = method.run(pipe, key.prompt, self._reward(row), self._budget(row, key), generator, **call)
        cost = made.trace.cost
        self.store.put(key, {
            "row": row.name, "method": row.method, "png": png(made.images[0]), "evaluations": int(made.trace.evaluations[0]),
            "denoiser_rows": cost.denoiser_rows, "denoiser_backwards": cost.denoiser_backwards, "decodes": cost.decodes,
            "reward_calls": cost.reward_calls, "seconds": cost.seconds, "peak_bytes": cost.peak_bytes,
            "failures": json.dumps(made.trace.failures), "settings": json.dumps(self.plan.settings_of(row), default=str),
        })  # fmt: skip

    def measure(self, key: Key) -> None:
        """Score a picture of the store by the metrics that have not scored it."""
        missing = [name for name in self.metrics if not self.store.has(key, shard_of(name))]
        found = self.store.get(key) if missing else None
        if found is None:
            return
        images = pixels([found["png"]])
        for name in missing:
            (score,) = self.metrics[name](images, [key.prompt])
            self.store.put(key, {"metric": name, "score": score}, shard_of(name))

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

    def _budget(self, row: Row, key: Key) -> Budget | None:
        if row.budget is not None:
            return Budget(**row.budget)
        if row.match is None:
            return None
        spent = self.store.get(base_key(self.plan, row, key))
        if spent is None:
            raise ConfigError(f"row {row.name!r}: the picture of {row.match.row!r} that sets its budget is not there")
        if row.match.by == "seconds":
            return Budget(seconds=spent["seconds"])
        steps = {**self.plan.call, **row.call}.get("num_inference_steps") or 1
        return Budget(evaluations=-(-spent["evaluations"] // steps) * steps)


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
