"""The call that holds a pipeline's loop, and the classes that only prepare it: `super().__call__(*args, guidance_scale=3.0, **kwargs)`."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, TypeVar

import torch

from ..errors import PipelineError

T = TypeVar("T")

_HANDED_ON: ContextVar[Any] = ContextVar("_HANDED_ON", default=None)
"""The pipeline whose class has handed its call on, with the arguments as they are now."""
_GRAD_MODE = torch.no_grad()(lambda: None).__code__.co_filename
"""Where torch's own decorators are from."""


def loop_call(kind: type) -> Any:
    """The `__call__` over which timesteps are enumerated: a pipeline class's own, or that of the class which its own calls.

    Without any, the class's own.
    """
    chain: Any = _chain(kind)
    return (chain[-1] if chain else kind).__call__


def given_call(pipe: Any) -> Any:
    """The `__call__` whose arguments are those that the pipeline is given now: its class's own, until that has handed on."""
    return type(pipe).__call__ if hands_on(pipe) else loop_call(type(pipe))


def undecorated(function: Any) -> types.FunctionType:
    """A `__call__` without torch's decorators, as `torch.no_grad()`. Raises PipelineError on others, whose work would be left out."""
    while hasattr(function, "__wrapped__"):
        code = getattr(function, "__code__", None)
        if code is None or code.co_filename != _GRAD_MODE:
            by = type(function).__name__ if code is None else code.co_qualname.rpartition(".<locals>.")[0].rpartition(".")[2]
            name = function.__qualname__.rpartition(".<locals>.")[2]
            raise PipelineError(
                f"{name} is decorated by {by}, whose work would be left out, since the code inside of it is run with parts exchanged: take the "
                "decorator off, and do its work around the steered call"
            )
        function = function.__wrapped__
    return function


def knowing(function: types.FunctionType, names: Mapping[str, Any]) -> types.FunctionType:
    """The same code, in which these global names mean something else."""
    found = types.FunctionType(
        function.__code__, {**function.__globals__, **names}, function.__name__, function.__defaults__, function.__closure__
    )
    found.__kwdefaults__ = function.__kwdefaults__
    return found


def call_with_loop(pipe: Any) -> types.FunctionType:
    """The call over whose loop the pipeline is steered, which is given the arguments that there are now. Raises PipelineError."""
    name = type(pipe).__name__
    if hands_on(pipe):
        raise PipelineError(
            f"{name}.__call__ hands on to {loop_call(type(pipe)).__qualname__}, whose loop is what is followed here, with the arguments that come "
            "to it: use that class; a method of your own takes both by dymo.methods.handed.follows_loop"
        )
    if not _chain(type(pipe)):
        raise PipelineError(
            f"{name}.__call__ has no loop of its own over enumerate(timesteps), which is what is steered: use the pipeline class of diffusers "
            "that it derives from"
        )
    return undecorated(loop_call(type(pipe)))


def hands_on(pipe: Any) -> bool:
    """Whether the pipeline's class has a call of its own around that with the loop, to which the arguments have not come yet."""
    return len(_chain(type(pipe))) > 1 and _HANDED_ON.get() is not pipe


def handed_on(pipe: Any, kwargs: Mapping[str, Any], run: Callable[[dict[str, Any]], tuple[Any, T]]) -> tuple[Any, T]:
    """What `pipe(**kwargs)` returns, where `run` stands for the call with the loop: it is given that one's arguments by name, and
    returns what that one is to return, and something beside it, which is returned here too.

    For a pipeline that `hands_on`: the code of its classes around that call runs as it is, once. Raises PipelineError where it does
    not come to the call, or comes to it again.
    """
    chain = _chain(type(pipe))
    name = type(pipe).__name__
    kept: list[T] = []

    def call(place: int, *args: Any, **kwargs: Any) -> Any:
        own = vars(chain[place])["__call__"]
        function = undecorated(own)
        if chain[place] is chain[-1]:
            if kept:
                raise PipelineError(
                    f"{name}.__call__ calls super().__call__ again, and what is steered is one run of a loop, with one budget and one trace: steer "
                    f"its runs one by one, each by a {chain[-1].__name__}, and give the next what the one before has made"
                )
            token = _HANDED_ON.set(pipe)
            try:
                found, beside = run(_named(function, pipe, args, kwargs))
            finally:
                _HANDED_ON.reset(token)
            kept.append(beside)
            return found

        def above(*given: Any) -> _Above:
            return _Above(pipe, chain[place], lambda *args, **kwargs: call(place + 1, *args, **kwargs))

        with torch.set_grad_enabled(torch.is_grad_enabled() and own is function):  # its decorator is torch.no_grad
            return knowing(function, {"super": above})(pipe, *args, **kwargs)

    found = call(0, **kwargs)
    if not kept:
        raise PipelineError(f"{name}.__call__ has not called super().__call__, whose loop is what is steered: use {chain[-1].__name__}")
    return found, kept[0]


def reached(pipe: Any, kwargs: Mapping[str, Any], run: Callable[[dict[str, Any]], T]) -> T:
    """What `run` returns, which stands for the call with the loop as in `handed_on`; what its classes do after that call is left out."""
    found: list[T] = []

    def stop(own: dict[str, Any]) -> tuple[Any, None]:
        found.append(run(own))
        raise _Reached

    with suppress(_Reached):
        handed_on(pipe, kwargs, stop)
    return found[0]


class _Reached(BaseException):
    """The call with the loop has been reached: the code around it ends here."""


class _Above:
    """In the place of `super()` inside of a class's `__call__`."""

    def __init__(self, pipe: Any, kind: type, call: Callable[..., Any]):
        self.__call, self.__rest = call, super(kind, pipe)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__call(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__rest, name)


def _chain(kind: type) -> list[type]:
    """The classes whose `__call__` calls that of the next by `super()`, and as the last the one with the loop; none where there is no such."""
    found: list[type] = []
    for one in kind.__mro__:
        if "__call__" not in vars(one):
            continue
        function = inspect.unwrap(vars(one)["__call__"])
        names = function.__code__.co_names if isinstance(function, types.FunctionType) else ()
        found.append(one)
        if not {"super", "__call__"} <= set(names):
            return found if "enumerate" in names else []
    return []


def _named(function: Callable[..., Any], pipe: Any, args: tuple, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a call by their names, as far as they are given."""
    bound = inspect.signature(function).bind(pipe, *args, **kwargs)
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name in bound.arguments:
            found |= bound.arguments[name] if parameter.kind is parameter.VAR_KEYWORD else {name: bound.arguments[name]}
    return {name: value for name, value in found.items() if value is not pipe}
