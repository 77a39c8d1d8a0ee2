"""A function that hands over in the midst of its work, and waits for an answer: a greenlet, in the context of who began it."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any

import torch
from greenlet import GreenletExit, getcurrent, greenlet


class Waiting:
    """`function()`, run a piece at a time. The grad mode belongs to the thread, not to the greenlet: each side keeps its own."""

    def __init__(self, function: Callable[[], Any]):
        self._caller = getcurrent()
        self._function = greenlet(lambda _answer: function())
        self._function.gr_context = contextvars.copy_context()

    @property
    def ended(self) -> bool:
        """Whether the function has returned or raised."""
        return self._function.dead

    @property
    def runs(self) -> bool:
        """Whether it is the function that asks."""
        return getcurrent() is self._function

    def go(self, answer: Any = None) -> Any:
        """Let the function go on with this answer -> what it hands over next, or what it returns. Raises what it raises."""
        mode = torch.is_grad_enabled()
        try:
            return self._function.switch(answer)
        finally:
            torch.set_grad_enabled(mode)

    def ask(self, handed: Any) -> Any:
        """Called in the function: hand this over -> the answer."""
        mode = torch.is_grad_enabled()
        answer = self._caller.switch(handed)
        torch.set_grad_enabled(mode)
        return answer

    def close(self) -> None:
        """End the function where it waits; one that has not begun, or has ended, is left alone."""
        if not self._function or self._function.dead:
            return
        mode = torch.is_grad_enabled()
        try:
            self._function.throw(GreenletExit)
        finally:
            torch.set_grad_enabled(mode)
