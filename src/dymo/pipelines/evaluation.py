"""One evaluation of the denoiser inside the pipeline's own loop body: which rows run, what is seen of them, the way back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import PipelineError
from ..guidance.levels import predict_noise, predict_z0
from ..guidance.loop import Need, Rows, Seen, Timestep, pick, places
from ..parts import Set, Setting
from ..trace import Cost
from .block import Mixed, OneBlock
from .families import Branches, Family, Taps
from .hold import patched, processing
from .kernel import KernelTaps
from .latents import Latents
from .rows import map_tensors
from .schedulers import limited, prediction_of
from .settings import Execution, MapChoice
from .taps import AttentionTaps
from .way_back import WayBack

log = logging.getLogger(__name__)

_ALONE = Branches(1, 0, None)


class Evaluator:
    """Runs the denoiser's own `forward` for the samples that are evaluated, with a graph only where a gradient passes.

    given: the arguments of the pipeline's call. whole: the graph of the whole trajectory is kept, and each forward
    checkpointed. A forward is captured where its maps are read by `AttentionTaps`, or none are. Use it as part of `stack`, which
    takes the hooks off again.
    """

    def __init__(
        self, pipe: Any, family: Family, latents: Latents, given: Mapping[str, Any], cost: Cost, stack: ExitStack, whole: bool,
        choice: MapChoice, execution: Execution,
    ):  # fmt: skip
        self.pipe, self.family, self.latents, self.given, self.cost, self.stack = pipe, family, latents, given, cost, stack
        self.whole, self.choice, self.fixed, self.graphs = whole, choice, execution.fixed, execution.graphs
        self._at_once = execution.at_once and not whole
        self.forward = family.denoiser(pipe).forward
        self.branches = self.ran = _ALONE
        """The rows of guidance in the batch of the call that has the conditional ones, and in the forward whose graph is kept."""
        self.passes = 1
        """Rows a sample of all forwards that have a graph."""
        self.taps: Taps | None = None
        self.grid = (0, 0)
        self.outputs: list[tuple[Branches, Tensor]] = []
        """Of each call of the denoiser in an evaluation."""
        self._call = 0
        self._cut = self._look = self._capturing = False

    @cached_property
    def device(self) -> torch.device:
        """Where the denoiser runs. Pipelines walk through all modules of all their models to tell it."""
        return self.pipe._execution_device

    def begin(self) -> None:
        """The pipeline's loop body begins, again or anew: the next call of the denoiser is the first of an evaluation."""
        self._call = 0

    def __call__(self, args: tuple, kwargs: dict, rows: Rows | None, need: Need) -> Any:
        """What the pipeline's call of the denoiser returns.

        rows: the samples to evaluate, none of them named for all; the others keep the output that they had. Raises PipelineError
        where the batch has other rows than the family knows.
        """
        call, self._call = self._call, self._call + 1
        sample = self.family.sample(args, kwargs)
        branches = self.family.branches(self.pipe, self.given, call)
        n = self.latents.samples
        if branches.truncated and n == sample.shape[0]:
            branches = _ALONE
        if sample.shape[0] != branches.count * n:
            raise PipelineError(
                f"{type(self.pipe).__name__} runs its denoiser on {sample.shape[0]} rows for {n} images, where "
                f"{branches.count} each were expected: this form of guidance cannot be steered"
            )
        if call and need.maps and self.choice.all_rows and branches.unconditional is not None:
            raise PipelineError(
                Setting("map_rows", "all"), f": {type(self.pipe).__name__} runs its guidance in two calls, and the maps of one are read: ",
                Set(Setting("map_rows", "conditional")),
            )
        chosen = list(range(n)) if self.fixed else rows or list(range(n))
        blocks = [[block * n + i for i in chosen] for block in range(branches.count)]
        if call == 0:
            self.branches = branches
            if need.maps:
                self._tap()
        if not need.output:
            if branches.conditional is not None:
                self.ran = branches if branches.joint else _ALONE
                read = [row for block in blocks for row in block] if branches.joint else blocks[branches.conditional]
                self._run(args, kwargs, read, look=True, read=True)
                self.passes = self.ran.count
            return self.nothing(args, kwargs)
        conditional = branches.conditional is not None
        apart = need.through in ("maps", "conditional") and not (branches.joint or self.choice.all_rows)
        everyone = None if len(chosen) == n else [row for block in blocks for row in block]
        ran = branches
        if apart and not conditional:
            with torch.no_grad():
                found = self._run(args, kwargs, everyone)
            ran = Branches(0, None, None)
        elif apart and branches.count > 1:
            found, ran = self._conditional_rows(args, kwargs, branches, blocks, everyone, need), _ALONE
        else:
            found = self._run(args, kwargs, everyone, cut=need.through == "maps", read=conditional and need.maps)
            if apart and need.through == "conditional" and branches is not _ALONE and self.family.guided(self.pipe, self.given):
                found = self._passing_once(found)
        if call == 0:
            self.ran, self.passes = ran, ran.count
        else:
            self.passes += ran.count
        if need.through in ("none", "maps") and not self.whole:
            found = found.detach()
        if len(chosen) < n:
            before = self.outputs[call][1].detach() if call < len(self.outputs) else None
            before = None if before is None or len(before) != len(sample) else before
            before = found.new_zeros(len(sample), *found.shape[1:]) if before is None else before
            found = before.index_copy(0, places([row for block in blocks for row in block], found.device), found)
        self.outputs[call:] = [(branches, found), *self.outputs[call + 1 :]]
        return self._returned(found, kwargs)

    def is_marked(self, args: tuple, kwargs: dict) -> bool:
        """Whether a gradient would pass to the latents of this call."""
        return self.family.sample(args, kwargs).requires_grad

    def nothing(self, args: tuple, kwargs: dict) -> Any:
        """What the pipeline's call of the denoiser returns where its output is not to be used."""
        return self._returned(self._nothing(self.family.sample(args, kwargs)), kwargs)

    def read(self, latents: Sequence[int]) -> list[nn.Module]:
        """The modules whose attention maps would be read, for latents (rows, columns); none where there are none."""
        try:
            taps = self.family.taps(self.pipe, latents, self.choice.size, self.choice.layers)
        except PipelineError:
            return []
        return list(taps.modules.values())

    def _nothing(self, sample: Tensor) -> Tensor:
        """Zeros of the output's size."""
        denoiser: Any = self.family.denoiser(self.pipe)
        if sample.ndim == 3:
            return sample.new_zeros(*sample.shape[:2], denoiser.get_submodule(self.family.head).out_features)
        channels = getattr(denoiser.config, "out_channels", None) if sample.ndim == 4 else None
        return sample.new_zeros(len(sample), channels or sample.shape[1], *sample.shape[2:])

    def _returned(self, output: Tensor, kwargs: dict) -> Any:
        found = self.family.returned(output, kwargs)
        return (found,) if kwargs.get("return_dict", True) is False else self.family.packed(found)

    def _conditional_rows(
        self, args: tuple, kwargs: dict, branches: Branches, blocks: list[Rows], everyone: Rows | None, need: Need
    ) -> Tensor:
        """The rows of `blocks`, a graph to the conditional ones alone."""
        if self._at_once:
            try:
                found = self._among(args, kwargs, branches, everyone, need)
            except Mixed as mixed:
                log.debug("the rows of guidance run apart: %s", mixed)
                found = None
            if found is not None:
                return found
            self._at_once = False
        return self._conditional_alone(args, kwargs, branches, blocks, need)

    def _among(self, args: tuple, kwargs: dict, branches: Branches, everyone: Rows | None, need: Need) -> Tensor | None:
        """The same in one forward; None where the family does not know how."""
        at = branches.conditional
        assert at is not None
        if everyone is not None:
            args, kwargs = self.family.take(args, kwargs, everyone, self.family.sample(args, kwargs).shape[0])
        batch = self.family.sample(args, kwargs).shape[0]
        spread = self.family.spread(args, kwargs, batch)
        if spread is None:
            return None

        def run(given: Any) -> tuple[Tensor, Tensor]:
            with OneBlock(branches.count, at) as rows:
                args, kwargs = map_tensors(lambda x: rows.shown(x) if x.ndim and x.shape[0] == batch else x, given)
                own = self._run(args, kwargs, None, cut=need.through == "maps", read=need.maps, count=batch)
                return rows.whole(own), own

        if self._captures(self.family.sample(args, kwargs), need.maps):
            found, own = self._captured((branches, need), run, spread, need.maps, batch)
        else:
            found, own = run(spread)
        if need.through != "conditional":
            return found
        blocks = list(found.chunk(branches.count))
        blocks[at] = self._passing_once(own)
        return torch.cat(blocks)

    def _conditional_alone(
        self, args: tuple, kwargs: dict, branches: Branches, blocks: list[Rows], need: Need
    ) -> Tensor:
        """The same in two forwards."""
        at = branches.conditional
        assert at is not None
        with torch.no_grad():
            rest = self._run(args, kwargs, [row for k, block in enumerate(blocks) if k != at for row in block])
        if self.taps is not None:
            self.taps.clear()
        own = self._run(args, kwargs, blocks[at], cut=need.through == "maps", read=need.maps)
        if need.through == "conditional":
            own = self._passing_once(own)
        parts = list(rest.split(len(blocks[at])))
        parts.insert(at, own)
        return torch.cat(parts)

    def _passing_once(self, own: Tensor) -> Tensor:
        """The pipeline multiplies the conditional rows by its guidance scale; the gradient is to pass once."""
        return own.detach() + (own - own.detach()) / self.family.scale(self.pipe, self.given)

    def _run(
        self, args: tuple, kwargs: dict, rows: Rows | None, cut: bool = False, look: bool = False, read: bool = False,
        count: int | None = None,
    ) -> Tensor:  # fmt: skip
        """The denoiser's own forward on some rows of its batch.

        cut: drop the graph after the last tap; look: stop there; read: it is this forward whose maps are read; count: the
        rows that it runs, where they are more than are shown.
        """
        sample = self.family.sample(args, kwargs)
        if rows is not None:
            args, kwargs = self.family.take(args, kwargs, rows, sample.shape[0])
        count = count or (sample.shape[0] if rows is None else len(rows))
        if read and isinstance(self.taps, KernelTaps):
            self.taps.places = self.family.places(self.pipe, args, kwargs, self.taps.tokens)

        if not look and self._captures(sample, read):
            given = self.family.spread(args, kwargs, self.family.sample(args, kwargs).shape[0]) or (args, kwargs)
            return self._captured((cut, read), lambda x: (self._run(x[0], x[1], None, cut, read=read, count=count),), given, read, count)[0]

        def forward(*args: Any, **kwargs: Any) -> Tensor:
            self.cost.denoiser_calls += 1
            self.cost.denoiser_rows += count
            return self.family.run(self.forward, args, kwargs)

        mode = torch.is_grad_enabled()
        self._cut, self._look = cut and mode, look
        if self.taps is not None:
            self.taps.watch(read)
        try:
            if not (self.whole and mode):
                return forward(*args, **kwargs)
            # The way back comes after the pipeline's end, where what is patched is put back and perturbed attention guidance takes its
            # processors out.
            denoiser = self.family.denoiser(self.pipe)
            own = dict(getattr(denoiser, "attn_processors", {}))

            def again(*args: Any, **kwargs: Any) -> Tensor:
                # In lists of their own: HunyuanDiT's forward empties the one that has its ControlNet's residuals.
                args, kwargs = map_tensors(lambda x: x, (args, kwargs))
                with processing(denoiser, own), ExitStack() as stack:
                    for patch in self.family.patches(self.pipe):
                        stack.enter_context(patched(*patch))
                    return forward(*args, **kwargs)

            found = checkpoint(again, *args, use_reentrant=False, **kwargs)
            if found.requires_grad:
                found.register_hook(lambda _: self._count_backward(count))
            return found
        except _Looked:
            return sample
        finally:
            self._cut = self._look = False
            if self.taps is not None:
                self.taps.watch(False)
            torch.set_grad_enabled(mode)

    def _captures(self, sample: Tensor, read: bool) -> bool:
        """Whether a forward is to run as a graph: not in one that is being captured, nor where a gradient is wanted of what has none."""
        return (
            self.graphs is not None and not self._capturing and not self.whole
            and (sample.requires_grad or not torch.is_grad_enabled())
            and (not read or isinstance(self.taps, AttentionTaps))
        )  # fmt: skip

    def _captured(
        self, name: Any, run: Callable[[Any], tuple[Tensor, ...]], given: Any, read: bool, count: int
    ) -> tuple[Tensor, ...]:
        """What `run(given)` returns, with what the taps see in it, by a graph. count: the rows that it runs."""
        assert self.graphs is not None
        taps, calls, rows = self.taps, self.cost.denoiser_calls, self.cost.denoiser_rows

        def function(given: Any) -> tuple[Tensor, ...]:
            if taps is not None:
                taps.clear()
            found = run(given)
            return (*found, *taps.kept()) if read and isinstance(taps, AttentionTaps) else found

        self._capturing = True
        try:
            # Processors own weights that the graph reads, and this loop may end before the graph does.
            found = self.graphs.on_tree(
                ("denoiser", name), function, given, self.device, lambda: getattr(self.family.denoiser(self.pipe), "attn_processors", None)
            )
        finally:
            self._capturing = False
            self.cost.denoiser_calls, self.cost.denoiser_rows = calls + 1, rows + count
        if read and isinstance(taps, AttentionTaps):
            found = found[: -taps.keep(found)]
        # Samplers keep outputs for later steps; what the taps read is used up before the next replay.
        return tuple(x.clone() for x in found)

    def _count_backward(self, rows: int) -> None:
        self.cost.denoiser_backwards += rows

    def _tap(self) -> None:
        if self.taps is None:
            self.taps = self.family.taps(self.pipe, self.latents.shape[-2:], self.choice.size, self.choice.layers)
            self.grid = self.taps.grid
            self.stack.enter_context(self.taps)
            assert self.taps.last is not None
            self.stack.callback(self.taps.last.register_forward_hook(self._after_taps).remove)
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
        """What the last evaluation gave: `sample` and `output` (after guidance) as the pipeline hands them to its scheduler,
        unpacked to (n, c, h, w).
        """
        scheduler, fully = self.pipe.scheduler, need.through in ("full", "conditional") or self.whole
        joined = self.whole or (sample.dtype == torch.float32 and need.through != "none")
        # Where all samples ran, so goes the way back.
        ran, passed = list(range(len(sample))) if self.fixed else rows, len(rows) * self.passes
        back = WayBack(self.latents, sample, rows, ran, joined, lambda: self._count_backward(passed))
        of_all = back.leaf(pick(output, ran)) if fully else None
        prediction = self.latents.spatial(pick(output.detach(), rows).float() if of_all is None else pick(of_all, back.among))
        kind = prediction_of(scheduler)
        with torch.set_grad_enabled(not self.whole or torch.is_grad_enabled()):
            z0 = limited(scheduler, predict_z0(back.z, prediction, now.here, kind))
            maps = pick(self._maps(back.leaf, len(ran)), back.among) if need.maps else None
        eps = predict_noise(back.z.detach(), prediction.detach(), now.here, kind)
        of_guidance = partial(self._residual, self.outputs[: self._call], rows, now, kind, sample.shape)
        return Seen(rows, now, back.z, z0, eps, of_guidance, maps, self.grid, decode, back)

    def _maps(self, leaf: Callable[[Tensor], Tensor], n: int) -> Tensor:
        """Maps (n, pixels, tokens) of the conditional rows, or averaged over all rows of the guidance."""
        assert self.taps is not None
        if self.choice.all_rows and self.ran.count == self.branches.count:
            return self.taps.maps(leaf, slice(None)).unflatten(0, (self.ran.count, n)).mean(0)
        return self.taps.maps(leaf, self._conditional(n))

    def layers(self, n: int) -> dict[str, Tensor]:
        """Each layer's maps (n, pixels, tokens) of the conditional rows, of the last evaluation of n samples with maps."""
        assert self.taps is not None
        return self.taps.layers(Tensor.detach, self._conditional(n))

    def _conditional(self, n: int) -> slice:
        start = (self.ran.conditional or 0) * n
        return slice(start, start + n)

    def _residual(
        self, outputs: Sequence[tuple[Branches, Tensor]], rows: Rows, now: Timestep, kind: str, sample: Sequence[int]
    ) -> Tensor | None:
        """eps_cond - eps_uncond (n, c, h, w), None without guidance. sample: the shape of all latents."""
        conditional = unconditional = None
        for branches, output in outputs:
            blocks = output.detach().float().unflatten(0, (branches.count, -1))
            if branches.conditional is not None:
                conditional = blocks[branches.conditional]
            if branches.unconditional is not None:
                unconditional = blocks[branches.unconditional]
        if conditional is None or unconditional is None:
            return None
        # A learned variance lies behind the prediction, and Z-Image's has an axis of frames.
        found = pick(conditional - unconditional, rows)[:, : sample[1]].reshape(-1, *sample[1:])
        found = self.family.sign * self.latents.spatial(found)
        return predict_noise(torch.zeros_like(found), found, now.here, kind)  # eps is linear in z and the output


class _Looked(Exception):
    """The last layer that is read has run: the rest of the forward is not needed."""
