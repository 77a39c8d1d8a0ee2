"""The denoiser's seam: run only the rows that are needed, with a graph only where a gradient will pass."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from ..guidance.guide import Plan
from ..trace import Cost
from .attention import AttentionTaps
from .patch import patched
from .rows import map_tensors, take


class DenoiserSeam(ExitStack):
    """Replaces `unet.forward` on the instance while open; the pipeline goes on calling it as ever.

    Before each call the loop sets `plan`, `active` (samples to evaluate) and `idle` (answer from memory). After it,
    `residual` is eps_cond - eps_uncond of the whole batch, or None without guidance.
    `with_guidance` and `scale` are asked anew at each call, since a callback may change them.
    """

    def __init__(
        self, unet: nn.Module, taps: AttentionTaps | None, gradient: str, with_guidance: Callable[[], bool],
        scale: Callable[[], float], cost: Cost,
    ):  # fmt: skip
        super().__init__()
        self.unet, self.taps, self.gradient, self.cost = unet, taps, gradient, cost
        self.with_guidance, self.scale = with_guidance, scale
        self.plan, self.idle = Plan("unguided"), False
        self.active: list[int] | None = None
        self.output: Tensor | None = None
        self.halves, self.evaluated = 1, 0
        self._forward = unet.forward
        self._cutting = False

    def __enter__(self) -> DenoiserSeam:
        super().__enter__()
        self.enter_context(patched(self.unet, "forward", self._call))
        if self.taps is not None:
            self.enter_context(self.taps)
            last = list(self.taps.modules)[-1].split(".")
            block = self.unet.get_submodule(".".join(last[: 1 if last[0] == "mid_block" else 2]))
            handle = block.register_forward_hook(self._cut)
            self.callback(handle.remove)
        return self

    @property
    def residual(self) -> Tensor | None:
        if self.halves == 1 or self.output is None:
            return None
        unconditional, conditional = self.output.detach().float().chunk(2)
        return conditional - unconditional

    def maps(self) -> Tensor:
        """Conditional maps of the active samples, averaged over heads and layers: (active, pixels, tokens)."""
        assert self.taps is not None
        layers = [self.taps.probabilities(name).float().mean(1) for name in self.taps.modules]
        maps = torch.stack(layers).mean(0)
        # The conditional rows come last.
        return maps[-self.evaluated :]

    def _call(self, sample: Tensor, *args: Any, **kwargs: Any) -> Any:
        wants_dict = kwargs.get("return_dict", True)
        if not self.idle:
            self.output = self._evaluate(sample, args, kwargs)
        assert self.output is not None
        if wants_dict:
            from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput

            return UNet2DConditionOutput(sample=self.output)
        return (self.output,)

    def _evaluate(self, sample: Tensor, args: tuple, kwargs: dict) -> Tensor:
        batch = sample.shape[0]
        self.halves = 2 if self.with_guidance() else 1
        samples = batch // self.halves
        everyone = self.active is None or len(self.active) == samples
        rows = torch.tensor(range(samples) if everyone else self.active, device=sample.device)
        self.evaluated = len(rows)
        conditional = rows + (self.halves - 1) * samples
        if self.taps is not None:
            self.taps.clear()
        plan = self.plan
        joint = not plan.graph or (plan.through_denoiser and self.gradient == "full") or self.halves == 1
        if joint:
            wanted = torch.cat([rows, conditional]) if self.halves == 2 else conditional
            found = self._run(
                sample, args, kwargs, None if everyone else wanted, graph=plan.graph, cut=not plan.through_denoiser
            )
        else:
            with torch.no_grad():
                negative = self._run(sample, args, kwargs, rows, graph=False, cut=False)
            if self.taps is not None:
                self.taps.clear()
            positive = self._run(sample, args, kwargs, conditional, graph=True, cut=not plan.through_denoiser)
            if plan.through_denoiser:
                # The pipeline multiplies by w; the gradient is to pass once.
                positive = positive.detach() + (positive - positive.detach()) / self.scale()
            found, wanted = torch.cat([negative, positive]), torch.cat([rows, conditional])
        if not plan.through_denoiser:
            found = found.detach()
        if everyone:
            return found
        assert self.output is not None
        return self.output.detach().index_copy(0, wanted, found)

    def _run(self, sample: Tensor, args: tuple, kwargs: dict, rows: Tensor | None, graph: bool, cut: bool) -> Tensor:
        if rows is not None:
            batch = sample.shape[0]
            sample, args, kwargs = take((sample, args, kwargs), rows, batch)
        self.cost.denoiser_calls += 1
        self.cost.denoiser_rows += sample.shape[0]
        self._cutting = cut and graph
        with torch.set_grad_enabled(graph):
            output = self._forward(sample, *args, **{**kwargs, "return_dict": False})[0]
        self._cutting = False
        return output

    def _cut(self, _module: nn.Module, _inputs: Any, output: Any) -> Any:
        """After the last block whose maps are read nothing needs a graph: drop it, so activations are not kept."""
        if not self._cutting:
            return None
        torch.set_grad_enabled(False)
        return map_tensors(Tensor.detach, output)


class Memory(ExitStack):
    """Answers a module's forward from memory while `idle()`: a ControlNet beside an idle denoiser costs nothing."""

    def __init__(self, module: nn.Module, idle: Callable[[], bool]):
        super().__init__()
        self.module, self.idle, self.output, self._forward = module, idle, None, module.forward

    def __enter__(self) -> Memory:
        super().__enter__()
        self.enter_context(patched(self.module, "forward", self._call))
        return self

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        if self.idle():
            return self.output
        output = self._forward(*args, **kwargs)
        self.output = map_tensors(Tensor.detach, output)
        return output
