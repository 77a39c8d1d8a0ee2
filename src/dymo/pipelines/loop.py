"""A pipeline's own denoising loop, counted, and open where a method may change what passes through it.

`attach.py` is the seam of DyMO itself, which repeats steps; this one takes each step once, and serves the methods that
run whole trajectories: they change what goes in, look at the end of a step, or differentiate the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import PipelineError
from ..guidance.transitions import Level, predict_z0
from ..trace import Trace
from .families import levels_of
from .patch import patched
from .rows import take

Layers = dict[str, nn.Module]


class Hooks:
    """What a method does to a run; each does nothing unless it is overridden.

    Rows are the pictures of the call, in its order (a prompt's pictures are neighbours).
    """

    loop: Loop
    """The run that is being painted."""
    draws_noise = False
    """Whether `noise` is to be asked for the sampler's noise of each step (DDIM alone can take it from outside)."""

    def start(self, noise: Tensor) -> Tensor:
        """The initial noise (rows, ...), standard normal -> what to start from."""
        return noise

    def words(self, embeddings: Tensor) -> Tensor:
        """The conditional prompt embeddings (rows, tokens, d) -> what to condition on."""
        return embeddings

    def before(self, index: int, z: Tensor, look: Callable[[Tensor], None]) -> Tensor | None:
        """Before step `index` is evaluated at z (rows, c, h, w), as the denoiser sees it -> another z, or None.

        look(z) runs the conditional half of the denoiser on another z with a graph, up to the last of the loop's `layers`;
        it counts as an evaluation. Its backward is the method's to count.
        """
        return None

    def noise(self, index: int, drawn: Tensor) -> Tensor:
        """The noise that step `index` adds (rows, ...), standard normal as the sampler would draw it -> what to add."""
        return drawn

    def after(self, index: int, predict: Callable[[], Tensor], z: Tensor) -> Tensor:
        """After step `index`: predict() is z0' (rows, c, h, w), z the sampler's z_{t-1} -> the z to go on with."""
        return z


class Loop(ExitStack):
    """The pipeline with its loop counted into `trace` and open to `hooks`; as before on exit, whatever happens.

    checkpointing: with a gradient, keep only the denoiser's inputs of each step and run it again in the backward; the
    trace's rows count both runs, its evaluations one. `layers`: where `Hooks.before` looks.
    Nothing here needs a UNet but `before`: plain runs of transformers are counted as well.
    """

    def __init__(
        self, pipe: Any, trace: Trace, hooks: Hooks, checkpointing: bool = False, layers: Layers | None = None
    ):
        super().__init__()
        self.pipe, self.trace, self.hooks, self.checkpointing = pipe, trace, hooks, checkpointing
        self.layers = layers or {}
        self.scheduler = pipe.scheduler
        self.denoiser = denoiser_of(pipe)
        self.index = 0
        self.active: Sequence[int] | None = None
        """The rows that are still evaluated; the others get zeros for a prediction. None: all."""
        self._moved: Tensor | None = None
        self._own: dict[str, Callable[..., Any]] = {}

    def __enter__(self) -> Loop:
        super().__enter__()
        self._forward, self._step = self.denoiser.forward, self.scheduler.step
        try:
            self.enter_context(patched(self.denoiser, "forward", self.forward))
            self.enter_context(patched(self.scheduler, "step", self.step))
            for name, hook in (("prepare_latents", self.prepare_latents), ("encode_prompt", self.encode_prompt)):
                if hasattr(self.pipe, name):
                    self._own[name] = getattr(self.pipe, name)
                    self.enter_context(patched(self.pipe, name, hook))
        except BaseException:
            self.close()
            raise
        return self

    # What the pipeline calls, in its order.

    def encode_prompt(self, *args: Any, **kwargs: Any) -> Any:
        found = self._own["encode_prompt"](*args, **kwargs)
        return (self.hooks.words(found[0]), *found[1:])

    def prepare_latents(self, *args: Any, **kwargs: Any) -> Any:
        found = self._own["prepare_latents"](*args, **kwargs)
        first = found[0] if isinstance(found, tuple) else found
        sigma = getattr(self.scheduler, "init_noise_sigma", 1.0)
        start = (self.hooks.start(first / sigma) * sigma).to(first.dtype)
        return (start, *found[1:]) if isinstance(found, tuple) else start

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        name = next((key for key in ("sample", "hidden_states") if key in kwargs), None)
        sample = args[0] if name is None else kwargs[name]
        moved = self._look_first(sample, args, kwargs)
        if moved is not None:
            sample = moved
            args, kwargs = (args, {**kwargs, name: moved}) if name else ((moved, *args[1:]), kwargs)
        if self.active is None:
            return self._run(args, kwargs, sample.shape[0])
        rows, batch = self._rows(sample), sample.shape[0]
        args, kwargs = take((args, kwargs), rows, batch)
        found = self._run(args, {**kwargs, "return_dict": False}, len(rows))[0]
        return (found.new_zeros(batch, *found.shape[1:]).index_copy(0, rows, found),)

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor, *args: Any, **kwargs: Any) -> Any:
        if self._moved is not None:
            sample, self._moved = self._moved, None
        if self.hooks.draws_noise:
            drawn = randn_tensor(
                sample.shape, generator=kwargs.pop("generator", None), device=sample.device, dtype=model_output.dtype
            )
            kwargs["variance_noise"] = self.hooks.noise(self.index, drawn).to(model_output.dtype)
        rows = sample.shape[0]
        self._count(range(rows) if self.active is None else self.active, rows)

        def predict() -> Tensor:
            here, _ = self._levels(timestep)
            kind = self.scheduler.config.prediction_type
            return predict_z0(sample.float(), model_output.float(), here, kind)

        answer = self._step(model_output, timestep, sample, *args, **kwargs)
        given = answer[0] if isinstance(answer, tuple) else answer.prev_sample
        wanted = self.hooks.after(self.index, predict, given)
        self.index += 1
        if wanted is given:
            return answer
        if isinstance(answer, tuple):
            return (wanted, *answer[1:])
        answer.prev_sample = wanted
        return answer

    # What happens inside.

    def _run(self, args: tuple, kwargs: dict, rows: int) -> Any:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.trace.cost.denoiser_calls += 1
            self.trace.cost.denoiser_rows += rows
            return self._forward(*args, **kwargs)

        if self.checkpointing and torch.is_grad_enabled():
            found = checkpoint(counted, *args, use_reentrant=False, **kwargs)
        else:
            found = counted(*args, **kwargs)
        self._count_backward(found[0], rows)
        return found

    def _count_backward(self, output: Tensor, rows: int) -> None:
        def count(_gradient: Tensor) -> None:
            self.trace.cost.denoiser_backwards += rows

        if output.requires_grad:
            output.register_hook(count)

    def _count(self, rows: Sequence[int], of: int) -> None:
        """One evaluation of these rows: the pictures of the trace share the call's rows evenly."""
        each = of // len(self.trace.evaluations)
        for row in rows:
            self.trace.evaluations[row // each] += 1

    def _halves(self) -> int:
        return 2 if getattr(self.pipe, "do_classifier_free_guidance", False) else 1

    def _rows(self, sample: Tensor) -> Tensor:
        """The rows of the denoiser's batch that belong to the active pictures."""
        assert self.active is not None
        size, halves = sample.shape[0] // self._halves(), self._halves()
        return torch.tensor([half * size + row for half in range(halves) for row in self.active], device=sample.device)

    def _levels(self, timestep: Any) -> tuple[Level, Level]:
        at = (self.scheduler.timesteps == timestep).nonzero()[0].item()
        return levels_of(self.scheduler)(self.scheduler, int(at))

    def _look_first(self, sample: Tensor, args: tuple, kwargs: dict) -> Tensor | None:
        """What `Hooks.before` makes of the denoiser's input, for the whole batch; None where it leaves it alone."""
        if not self.layers:
            return None
        halves = self._halves()
        size = sample.shape[0] // halves
        conditional = torch.arange(size, device=sample.device) + (halves - 1) * size
        rest, named = take((args[1:], kwargs), conditional, sample.shape[0])
        last = list(self.layers.values())[-1]

        def look(z: Tensor) -> None:
            handle = last.register_forward_hook(_stop)
            try:
                with torch.enable_grad():
                    self._run((z, *rest), named, size)
            except _Seen:
                pass
            finally:
                handle.remove()
            self._count(range(size), size)

        z = self.hooks.before(self.index, sample[conditional], look)
        if z is None:
            return None
        timestep = args[1] if len(args) > 1 else kwargs["timestep"]
        here, _ = self._levels(timestep)
        # VE schedulers scale the denoiser's input by 1 / radius; VP ones have radius 1.
        self._moved = z * here.radius
        return torch.cat([z] * halves)


class _Seen(Exception):
    """The last layer that is looked at has run: the rest of the forward is not needed."""


def _stop(*_: Any) -> None:
    raise _Seen


def denoiser_of(pipe: Any) -> nn.Module:
    """The pipeline's UNet or transformer. Raises PipelineError where it has neither."""
    for name in ("unet", "transformer"):
        module = getattr(pipe, name, None)
        if isinstance(module, nn.Module):
            return module
    raise PipelineError(f"{type(pipe).__name__} has neither a UNet nor a transformer: its cost cannot be counted")


def random_like(like: Tensor, generator: Any) -> Tensor:
    """Standard normal noise of the shape of `like`; `generator`: one, or a list of one a row."""
    return randn_tensor(like.shape, generator=generator, device=like.device, dtype=like.dtype)


def undecorated(pipe: Any) -> Callable[..., Any]:
    """The pipeline's call without diffusers' own no_grad. Raises PipelineError where it cannot be had."""
    call = getattr(vars(type(pipe)).get("__call__", type(pipe).__call__), "__wrapped__", None)
    if torch.is_inference_mode_enabled():
        raise PipelineError("called under torch.inference_mode(), where there are no gradients: call it outside")
    if call is None:
        raise PipelineError(
            f"{type(pipe).__name__}.__call__ cannot be run with gradients: it is not wrapped by no_grad"
        )
    return call
