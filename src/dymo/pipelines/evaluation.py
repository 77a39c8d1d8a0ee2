"""One evaluation of the denoiser inside the pipeline's own loop body: which rows run, what is seen of them, the way back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import PipelineError
from ..guidance.levels import predict_noise, predict_z0
from ..guidance.loop import Need, Rows, Seen, Timestep, pick
from ..trace import Cost
from .decode import power_of_two
from .families import Branches, Family
from .rows import map_tensors, take
from .schedulers import limited, prediction_of
from .taps import AttentionTaps

_ALONE = Branches(1, 0, None)


class Evaluator:
    """Runs the denoiser's own `forward` for the samples that are evaluated, with a graph only where a gradient passes.

    whole: the graph of the whole trajectory is kept, and each forward checkpointed. map_size, all_rows: which attention
    maps. Use it as part of `stack`, which takes the hooks off again.
    """

    def __init__(
        self, pipe: Any, family: Family, cost: Cost, stack: ExitStack, whole: bool, map_size: int | None, all_rows: bool
    ):
        self.pipe, self.family, self.cost, self.stack = pipe, family, cost, stack
        self.whole, self.map_size, self.all_rows = whole, map_size, all_rows
        self.forward = family.denoiser(pipe).forward
        self.branches = self.ran = _ALONE
        """The rows of guidance in the pipeline's batch, and in the forward whose graph is kept."""
        self.taps: AttentionTaps | None = None
        self.grid = (0, 0)
        self.output: Tensor | None = None
        self._cut = self._look = False

    def __call__(self, args: tuple, kwargs: dict, samples: int | None, rows: Rows, need: Need) -> tuple[Any, int]:
        """What the pipeline's call of the denoiser returns, and the number of samples in its batch.

        rows: the samples to evaluate, or [] for all; the others keep the output that they had. Raises PipelineError where
        the batch has other rows than the family knows.
        """
        sample = args[0] if args else kwargs["sample"]
        branches = self.branches = self.family.branches(self.pipe)
        n = samples or sample.shape[0] // branches.count
        if sample.shape[0] != branches.count * n:
            raise PipelineError(
                f"{type(self.pipe).__name__} runs its denoiser on {sample.shape[0]} rows for {n} images, where "
                f"{branches.count} each were expected: this form of guidance cannot be steered"
            )
        if need.maps:
            self._tap(sample)
        chosen = torch.tensor(rows or list(range(n)), device=sample.device)
        blocks = [chosen + block * n for block in range(branches.count)]
        own = blocks[branches.conditional]
        if not need.output:
            self._run(args, kwargs, own, look=True)
            self.ran = _ALONE
            channels = getattr(self.family.denoiser(self.pipe).config, "out_channels", sample.shape[1])
            return self._returned(sample.new_zeros(len(sample), channels, *sample.shape[2:]), kwargs), n
        apart = need.through in ("maps", "conditional") and not (branches.joint or self.all_rows)
        if apart and branches.count > 1:
            found = self._conditional_alone(args, kwargs, blocks, need)
            self.ran = _ALONE
        else:
            everyone = len(chosen) == n
            found = self._run(args, kwargs, None if everyone else torch.cat(blocks), cut=need.through == "maps")
            self.ran = branches
        if need.through in ("none", "maps") and not self.whole:
            found = found.detach()
        if len(chosen) < n:
            before = self.output.detach() if self.output is not None and len(self.output) == len(sample) else None
            before = found.new_zeros(len(sample), *found.shape[1:]) if before is None else before
            found = before.index_copy(0, torch.cat(blocks), found)
        self.output = found
        return self._returned(found, kwargs), n

    def _returned(self, output: Tensor, kwargs: dict) -> Any:
        return (output,) if kwargs.get("return_dict", True) is False else self.family.packed(output)

    def _conditional_alone(self, args: tuple, kwargs: dict, blocks: list[Tensor], need: Need) -> Tensor:
        """The rows of `blocks`, a graph to the conditional ones alone."""
        at = self.branches.conditional
        with torch.no_grad():
            rest = self._run(args, kwargs, torch.cat([b for k, b in enumerate(blocks) if k != at]))
        if self.taps is not None:
            self.taps.clear()
        own = self._run(args, kwargs, blocks[at], cut=need.through == "maps")
        if need.through == "conditional":
            # The pipeline multiplies by its guidance scale; the gradient is to pass once.
            own = own.detach() + (own - own.detach()) / self.family.scale(self.pipe)
        parts = list(rest.split(len(blocks[at])))
        parts.insert(at, own)
        return torch.cat(parts)

    def _run(self, args: tuple, kwargs: dict, rows: Tensor | None, cut: bool = False, look: bool = False) -> Tensor:
        """The denoiser's own forward on some rows of its batch. cut: drop the graph after the last tap; look: stop there."""
        sample = args[0] if args else kwargs["sample"]
        if rows is not None:
            args, kwargs = take((args, kwargs), rows, sample.shape[0])
        count = sample.shape[0] if rows is None else len(rows)

        def forward(*args: Any, **kwargs: Any) -> Tensor:
            self.cost.denoiser_calls += 1
            self.cost.denoiser_rows += count
            return self.forward(*args, **{**kwargs, "return_dict": False})[0]

        mode = torch.is_grad_enabled()
        self._cut, self._look = cut and mode, look
        try:
            if not (self.whole and mode):
                return forward(*args, **kwargs)
            found = checkpoint(forward, *args, use_reentrant=False, **kwargs)
            if found.requires_grad:
                found.register_hook(lambda _: self._count_backward(count))
            return found
        except _Looked:
            return sample
        finally:
            self._cut = self._look = False
            torch.set_grad_enabled(mode)

    def _count_backward(self, rows: int) -> None:
        self.cost.denoiser_backwards += rows

    def _tap(self, sample: Tensor) -> None:
        if self.taps is None:
            modules, self.grid = self.family.attention(self.pipe, sample.shape[-2:], self.map_size)
            self.taps = self.stack.enter_context(AttentionTaps(modules))
            block = self.family.last_block(self.pipe, list(modules)[-1])
            self.stack.callback(block.register_forward_hook(self._after_taps).remove)
        self.taps.clear()

    def _after_taps(self, _module: nn.Module, _inputs: Any, output: Any) -> Any:
        """After the last block whose maps are read nothing needs a graph: drop it, so activations are not kept."""
        if self._look:
            raise _Looked
        if not self._cut:
            return None
        torch.set_grad_enabled(False)
        return map_tensors(Tensor.detach, output)

    def seen(
        self, now: Timestep, sample: Tensor, output: Tensor, rows: Rows, need: Need, decode: Callable[[Tensor], Tensor]
    ) -> Seen:
        """What the last evaluation gave: `sample` and `output` (after guidance) as the pipeline hands them to its scheduler.

        In half precision the float32 quantities are leaves of their own, so that the way back through the denoiser is one
        pull at size 1.
        """
        scheduler = self.pipe.scheduler
        inner: list[tuple[Tensor, Tensor]] = []  # (of the denoiser's graph, float32 leaf)
        joined = self.whole or (sample.dtype == torch.float32 and need.through != "none")

        def leaf(x: Tensor) -> Tensor:
            if joined:
                return x.float()
            found = x.detach().float().requires_grad_(need.through != "none")
            inner.append((x, found))
            return found

        z = pick(sample, rows) if joined else pick(sample, rows).detach().float().requires_grad_()
        z = z.float()
        through = need.through in ("full", "conditional") or self.whole
        prediction = leaf(pick(output, rows)) if through else pick(output.detach(), rows).float()
        kind = prediction_of(scheduler)
        with torch.set_grad_enabled(not self.whole or torch.is_grad_enabled()):
            z0 = limited(scheduler, predict_z0(z, prediction, now.here, kind))
            maps = self._maps(leaf, len(rows)) if need.maps else None
        eps = predict_noise(z.detach(), prediction.detach(), now.here, kind)
        return Seen(
            rows, now, z, z0, eps, self._residual(rows), maps, self.grid, decode,
            lambda loss, keep: self._pull(loss, keep, None if joined else z, inner, sample, rows),
        )  # fmt: skip

    def _maps(self, leaf: Callable[[Tensor], Tensor], n: int) -> Tensor:
        """Maps (n, pixels, tokens) of the conditional rows, or averaged over all rows of the guidance."""
        assert self.taps is not None
        if self.all_rows and self.ran.count == self.branches.count:
            return self.taps.maps(leaf).unflatten(0, (self.ran.count, n)).mean(0)
        start = self.ran.conditional * n
        return self.taps.maps(lambda x: leaf(x[start : start + n]))

    def _residual(self, rows: Rows) -> Tensor | None:
        """eps_cond - eps_uncond (n, c, h, w), None without guidance."""
        at = self.branches
        if at.unconditional is None or self.output is None:
            return None
        blocks = self.output.detach().float().unflatten(0, (at.count, -1))
        return pick(blocks[at.conditional] - blocks[at.unconditional], rows)

    def _pull(
        self, loss: Tensor, keep: bool, z: Tensor | None, inner: list[tuple[Tensor, Tensor]], sample: Tensor, rows: Rows
    ) -> Tensor:
        """d loss.sum() / d z_t. Through the denoiser it goes sample by sample at size 1, so that half precision holds it."""
        if not loss.requires_grad:
            return torch.zeros_like(pick(sample, rows), dtype=torch.float32)
        if z is None:
            (found,) = torch.autograd.grad(loss.sum(), sample, retain_graph=keep)
            self._count_backward(len(rows) * self.ran.count)
            return pick(found, rows)
        leaves = [z, *(found for _, found in inner)]
        direct, *onward = torch.autograd.grad(loss.sum(), leaves, retain_graph=keep, allow_unused=True)
        total = torch.zeros_like(z) if direct is None else direct
        pairs = [(x, g) for (x, _), g in zip(inner, onward, strict=True) if g is not None and x.requires_grad]
        if not pairs:
            return total
        # With maps of all rows a gradient has several rows a sample.
        each = [g.unflatten(0, (-1, len(rows))) for _, g in pairs]
        size = torch.stack([power_of_two(g.transpose(0, 1)).flatten() for g in each]).amax(0)
        seeds = [
            (g / size.view(1, -1, *[1] * (g.ndim - 2))).flatten(0, 1).to(x.dtype)
            for (x, _), g in zip(pairs, each, strict=True)
        ]
        (found,) = torch.autograd.grad([x for x, _ in pairs], sample, seeds, retain_graph=keep)
        self._count_backward(len(rows) * self.ran.count)
        return total + pick(found, rows).float() * size.view(-1, 1, 1, 1)


class _Looked(Exception):
    """The last layer that is read has run: the rest of the forward is not needed."""
