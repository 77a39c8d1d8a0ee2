"""Attention maps read where the attention itself is computed: the queries, keys and mask that enter torch's kernel.

What enters it has passed every projection, normalisation and rotary embedding of the model, so one reader serves joint
attention and cross-attention of any transformer; only where the latents' and the prompt's tokens lie is the model's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint

from ..errors import PipelineError
from ..guidance.loop import places
from ..parts import Set, Setting

# Scores of one head, in bytes of float32, from which on heads are taken one by one and their scores computed again in the backward.
_AT_ONCE = 2**26


@dataclass(frozen=True)
class Places:
    """Where the tokens of the latents begin among the queries, and the prompt's among the keys: for all samples, or of each.

    length: tokens of the prompt; 0: all keys are the prompt's (cross-attention).
    """

    image: int | tuple[int, ...] = 0
    text: int | tuple[int, ...] = 0
    length: int = 0


@dataclass
class Entered:
    """What entered the kernel: q (B, heads, n, d), k (B, heads or fewer, m, d), the mask, the scale."""

    q: Tensor
    k: Tensor
    mask: Tensor | None
    scale: float


class _Reading(TorchFunctionMode):
    """Notes the calls of the kernel."""

    def __init__(self, note: Callable[[Entered], None]):
        super().__init__()
        self.note = note

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            given = dict(zip(("query", "key", "value", "attn_mask"), args, strict=False)) | kwargs
            q, scale = given["query"], given.get("scale")
            self.note(Entered(q, given["key"], given.get("attn_mask"), q.shape[-1] ** -0.5 if scale is None else scale))
        return func(*args, **kwargs)


@dataclass
class KernelTaps(AbstractContextManager):
    """Keeps what entered the kernel in the chosen attention modules' last forward, while the context is open.

    modules: name -> attention module. tokens: (rows, columns) of the latents' tokens; every `stride`-th in each direction
    is read. last: the block after which nothing that is read depends on the latents. call: which of a module's calls of the kernel
    has the latents' queries; an IP-Adapter's own follows the prompt's. Of several forwards, as gradient checkpointing makes them,
    the first is kept: it belongs to the graph.
    """

    modules: Mapping[str, nn.Module]
    tokens: tuple[int, int]
    stride: int
    last: nn.Module
    places: Places = field(default_factory=Places)
    call: int = 0
    entered: dict[str, Entered] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the maps."""
        rows, columns = self.tokens
        return -(-rows // self.stride), -(-columns // self.stride)

    def __enter__(self) -> KernelTaps:
        for name, module in self.modules.items():
            self._watch(name, module)
        return self

    def __exit__(self, *exc: Any) -> None:
        self._stack.close()
        self.clear()

    def watch(self, on: bool) -> None:
        """Whether the forward to come is read: every one is, and the first kept."""

    def clear(self) -> None:
        """Forget what was seen; call before each forward that is to be read."""
        self.entered.clear()

    def _watch(self, name: str, module: nn.Module) -> None:
        calls: list[Entered] = []
        reading = _Reading(calls.append)

        def before(_module: nn.Module, _inputs: Any) -> None:
            calls.clear()
            reading.__enter__()

        def after(_module: nn.Module, _inputs: Any, _output: Any) -> None:
            reading.__exit__(None, None, None)
            if calls:
                self.entered.setdefault(name, calls[self.call])
                calls.clear()

        self._stack.callback(module.register_forward_pre_hook(before).remove)
        self._stack.callback(module.register_forward_hook(after, always_call=True).remove)

    def maps(self, change: Callable[[Tensor], Tensor] = lambda x: x, rows: slice = slice(None)) -> Tensor:
        """softmax over all keys, of the latents' queries, kept for the prompt's tokens: float32 (batch, pixels, tokens).

        Averaged over heads and modules. change: applied to each module's q and k first, to cut the graph. rows: of the
        batch. Raises PipelineError where a module has not called torch's own kernel.
        """
        total: Tensor | None = None
        for name in self.modules:
            found = self._maps_of(name, change, rows)
            total = found if total is None else total + found
        assert total is not None
        return total / len(self.modules)

    def layers(self, change: Callable[[Tensor], Tensor] = lambda x: x, rows: slice = slice(None)) -> dict[str, Tensor]:
        """`maps` of each module by itself."""
        return {name: self._maps_of(name, change, rows) for name in self.modules}

    def _maps_of(self, name: str, change: Callable[[Tensor], Tensor], rows: slice) -> Tensor:
        if name not in self.entered:
            raise PipelineError(
                f"the attention of {name} did not run through torch's scaled_dot_product_attention, so its maps cannot be read: set the default "
                "attention processors and backend (pipe.transformer.set_attention_backend('native')), or ", Set(Setting("semantic_weight", 0)),
            )
        seen = self.entered[name]
        batch = seen.q.shape[0]
        pixels = self._pixels(seen.q.device)
        image = _of_each(self.places.image, batch, pixels.device)[rows]
        index = image[:, None] + pixels
        same = not isinstance(self.places.image, tuple) or len(set(self.places.image[rows])) == 1
        q = seen.q[rows]
        q = q[:, :, index[0]] if same else q.gather(2, index[:, None, :, None].expand(-1, q.shape[1], -1, q.shape[3]))
        q, k = change(q).float(), change(seen.k[rows]).float()
        if k.shape[1] != q.shape[1]:  # grouped queries
            k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
        mask = seen.mask
        if mask is not None:
            mask = mask.expand(batch, *mask.shape[1:])[rows] if mask.ndim == 4 else mask
            mask = mask[..., index[0], :] if mask.shape[-2] > 1 else mask
        length = self.places.length or k.shape[2]
        text = _of_each(self.places.text, batch, pixels.device)[rows, None] + torch.arange(length, device=pixels.device)
        text = text.clamp_max(k.shape[2] - 1)  # prompts of a batch may differ in length: no word is beyond its own
        size = 4 * q.shape[0] * q.shape[2] * k.shape[2]
        heads = q.shape[1] if size * q.shape[1] <= _AT_ONCE else max(1, _AT_ONCE // size)
        total = q.new_zeros(())
        for head in range(0, q.shape[1], heads):
            part = slice(head, head + heads)
            own = mask[:, part] if mask is not None and mask.ndim == 4 and mask.shape[1] > 1 else mask
            inputs = (q[:, part], k[:, part], own, seen.scale, text)
            if heads < q.shape[1] and torch.is_grad_enabled():
                total = total + checkpoint(_over_heads, *inputs, use_reentrant=False)
            else:
                total = total + _over_heads(*inputs)
        return total / q.shape[1]

    def _pixels(self, device: torch.device) -> Tensor:
        """The places of the tokens that are read, row by row."""
        rows, columns = (torch.arange(0, n, self.stride, device=device) for n in self.tokens)
        return (rows[:, None] * self.tokens[1] + columns).flatten()


def _over_heads(q: Tensor, k: Tensor, mask: Tensor | None, scale: float, text: Tensor) -> Tensor:
    """The sum over heads of softmax(q k^T scale + mask), at the keys `text` (B, tokens): (B, n, tokens)."""
    scores = q @ k.transpose(-1, -2) * scale
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask.float()
    found = scores.softmax(-1).sum(1)
    return found.gather(-1, text[:, None].expand(-1, found.shape[1], -1))


def _of_each(place: int | tuple[int, ...], batch: int, device: torch.device) -> Tensor:
    return places([place] * batch if isinstance(place, int) else list(place), device)
