"""Methods that follow a loop, for a class whose `__call__` sets arguments and hands on: `super().__call__(*args, guidance_scale=3.0, **kwargs)`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from ..pipelines.calls import handed_on, hands_on
from ..pipelines.images import images_in, returned
from ..trace import Trace
from .contract import Result


def follows_loop(run: Callable[..., Result]) -> Callable[..., Result]:
    """A `Method.run` whose trajectories are all steered: what it reads of the call is what reaches the loop.

    The class's own code runs once, around the whole method, however many trajectories that has. `super().__call__` gives it the
    method's images as an `ImagePipelineOutput`, or as a tuple under `return_dict=False`; the images that it returns are the result's.
    """

    @functools.wraps(run)
    def found(
        method: Any, pipe: Any, prompts: str | Sequence[str], reward: Any = None, budget: Any = None, generator: Any = None, **kwargs: Any
    ) -> Result:
        if not hands_on(pipe):
            return run(method, pipe, prompts, reward, budget, generator, **kwargs)

        def followed(own: dict[str, Any]) -> tuple[Any, Trace]:
            texts = own.pop("prompt", None)
            # Beside embeddings of the class's own making the user's prompt says in words what they embed.
            texts = prompts if texts is None else texts
            result = run(method, pipe, texts, reward, budget, own.pop("generator", None), **own)
            return returned(result.images, own.get("return_dict", True)), result.trace

        given = {"prompt": prompts} | ({} if generator is None else {"generator": generator})
        output, trace = handed_on(pipe, {**given, **kwargs}, followed)
        return Result(images_in(output), trace)

    return found
