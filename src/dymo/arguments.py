"""What is given to `DyMO` and to its call: found in a wrong form or place before anything is loaded or run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, get_args

from .budget import check_budget
from .config import OnHacking
from .errors import ConfigError, PromptError
from .events import Listener
from .parts import Code, Setting
from .rewards import Reward, RewardLike, load_reward

# The commonest arguments of pipelines, for the message to somebody who gives them to the constructor.
_OF_PIPELINES = (
    "prompt_embeds", "negative_prompt", "num_inference_steps", "guidance_scale", "generator", "latents", "height", "width",
    "num_images_per_prompt", "output_type", "return_dict", "callback_on_step_end",
)  # fmt: skip


def check_call(prompt: Any, budget: Any, cancel: Any) -> None:
    """Raises PromptError or ConfigError on what is given in a wrong form."""
    if prompt is not None and not isinstance(prompt, (str, list, tuple)):
        if hasattr(prompt, "components"):
            raise PromptError(Setting("prompt"), f" is a {type(prompt).__name__}: the pipeline comes first, aligner(pipe, prompt)")
        raise PromptError(Setting("prompt", Code(f"{prompt!r:.80}")), ": give a string, or a list of strings")
    check_budget(budget)
    if cancel is not None and not hasattr(cancel, "is_set"):
        raise ConfigError(Setting("cancel", Code(f"{cancel!r}")), ": give a threading.Event, which ends the run when it is set")


def listed(listeners: Any) -> list[Listener]:
    """The listeners as a list. Raises ConfigError on one alone, and on what cannot be called."""
    if callable(listeners):
        raise ConfigError(
            Setting("listeners", Code(f"{listeners!r}")), ": give a list, as ",
            Setting("listeners", Code(f"[{getattr(listeners, '__name__', 'listen')}]")),
        )
    found = list(listeners)
    for one in found:
        if not callable(one):
            raise ConfigError(
                Setting("listeners", Code(f"[{one!r:.80}]")), ": it cannot be called; give functions, as ", Setting("listeners", Code("[print]")),
            )
    return found


def check_place(overrides: Iterable[str], of_the_call: Collection[str]) -> None:
    """Raises ConfigError on an argument of the call, or of the pipeline, that was given to the constructor."""
    for name in overrides:
        if name in of_the_call or name in _OF_PIPELINES:
            more = () if name in ("pipe", "prompt") else (", ", Setting(name, Code("...")))
            raise ConfigError(
                Setting(name), " is an argument of the call, not of DyMO(...): aligner = DyMO(...), then aligner(pipe, prompt", more, ")"
            )


def watched_by_name(watch: RewardLike | Sequence[RewardLike], guide: Reward | None, on_hacking: str) -> dict[str, Reward]:
    """name -> held-out reward. Raises ConfigError where there is nothing to compare with what."""
    if on_hacking not in get_args(OnHacking):
        raise ConfigError(Setting("on_hacking", on_hacking), f": choose one of {', '.join(map(repr, get_args(OnHacking)))}")
    several: Sequence[Any] = watch if isinstance(watch, (list, tuple)) else [watch]
    rewards = [load_reward(one) for one in several]
    if not rewards and on_hacking != "warn":
        raise ConfigError(
            Setting("on_hacking", on_hacking), " needs held-out rewards to go by: give ", Setting("watch", ["hpsv2.1"]), " or another",
        )
    if rewards and guide is None:
        raise ConfigError(
            Setting("watch"), " compares held-out rewards with the guide, and there is none: give ", Setting("reward"), ", or leave it out",
        )
    names = [reward.name for reward in rewards]
    for name in names:
        if names.count(name) > 1 or (guide is not None and name == guide.name):
            raise ConfigError(Setting("watch", name), " is the guide, or watched twice: watch rewards that nothing follows")
    return dict(zip(names, rewards, strict=True))
