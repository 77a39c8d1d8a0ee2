"""Functions of tensors as CUDA graphs, for the length of a run: captured at the first call of a kind, replayed afterwards."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import ConfigError, first_line
from ..parts import Setting
from .compiled import of_the_compiler
from .rows import map_tensors

Function = Callable[..., tuple[Tensor, ...]]
Capture = Callable[[Function, tuple[Tensor, ...]], Function]
Owners = Callable[[], Any]


def _nobody() -> None:
    pass


class _Captured(NamedTuple):
    replay: Function
    differentiable: list[bool]
    """Which of its outputs have a gradient."""
    owners: Any
    """Of what the graph reads."""


class _Once:
    """A hook before the way back through one call of a graph, whose backward writes over what it would read a second time."""

    def __init__(self) -> None:
        self.passed = False

    def __call__(self, _gradients: Any) -> None:
        if self.passed:
            raise ConfigError(
                Setting("compile", "graphs"),
                ": a graph passes a gradient back once, and a second one was asked for, as where an objective's loss has parts (K, n): leave out "
                "one of the two",
            )
        self.passed = True


class Graphs:
    """Calls functions by what was captured of them; a gradient passes through, once for each call.

    A function gives the same as before where its tensors do: what else it reads must stay as it is while this lives. What it
    returns is overwritten by the next call of its kind. capture: (function, sample tensors) -> a function that replays it.
    """

    def __init__(self, capture: Capture | None = None):
        # A ControlNet's outputs have gradients, and what is read may not depend on all of them.
        self.capture = capture or partial(torch.cuda.make_graphed_callables, num_warmup_iters=2, allow_unused_input=True)
        self._captured: dict[Hashable, _Captured] = {}

    def __call__(self, name: Hashable, function: Function, tensors: Sequence[Tensor], owners: Owners = _nobody) -> tuple[Tensor, ...]:
        """`function(*tensors)`. name: of the function, with all that it depends on besides the tensors; owners: gives those of other
        tensors that it reads, to be kept as long as its graph.

        Raises ConfigError where it cannot be captured, as where it waits for the device; so does a second gradient's way back.
        """
        kind = (name, torch.is_grad_enabled(), *((x.shape, x.dtype, x.device, x.requires_grad) for x in tensors))
        if kind not in self._captured:
            samples = tuple(x.detach().clone().requires_grad_(x.requires_grad) for x in tensors)
            differentiable: list[bool] = []

            def noting(*given: Tensor) -> tuple[Tensor, ...]:
                found = function(*given)
                differentiable[:] = [x.requires_grad for x in found]
                return found

            try:
                replay = self.capture(noting, samples)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                if of_the_compiler(error):
                    raise
                what: Any = name
                while isinstance(what, tuple):
                    what = what[0]
                raise ConfigError(
                    Setting("compile", "graphs"), f": the {what} cannot be captured as a CUDA graph ({first_line(error)}): leave out ",
                    Setting("compile", "graphs"),
                ) from error
            # The function is kept too: the graph reads tensors that only it holds.
            self._captured[kind] = _Captured(replay, differentiable, (function, owners()))
        captured = self._captured[kind]
        outputs = captured.replay(*tensors)
        # A graph's outputs all ask for a gradient, which would be computed for nothing.
        found = tuple(x if has else x.detach() for x, has in zip(outputs, captured.differentiable, strict=True))
        node = next((x.grad_fn for x in found if x.grad_fn is not None), None)
        if node is not None:
            node.register_prehook(_Once())
        return found

    def of_one(self, name: Hashable, function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """A function of one tensor to one, by its graph."""
        return lambda x: self(name, lambda y: (function(y),), [x])[0]

    def on_tree(
        self, name: Hashable, function: Callable[[Any], tuple[Tensor, ...]], tree: Any, device: torch.device, owners: Owners = _nobody
    ) -> tuple[Tensor, ...]:
        """`function(tree)`, of tensors inside of nested arguments; those on another device are brought to this one."""
        tensors: list[Tensor] = []
        shape = repr(map_tensors(lambda x: tensors.append(x.to(device)), tree))

        def of_tensors(*given: Tensor) -> tuple[Tensor, ...]:
            rest = iter(given)
            return function(map_tensors(lambda _: next(rest), tree))

        return self((name, shape), of_tensors, tensors, owners)
