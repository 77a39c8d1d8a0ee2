"""DyMO: align the images of a diffusion pipeline with prompts and taste, at test time.

    prompt/      prompt -> graph of things and attributes -> pairs of tokens
    pipelines/   the user's diffusers pipeline as a loop: predictions z0', attention maps, the sampler's own step
    guidance/    objectives L_A and L_R -> gradient -> stage schedule, step, recurrence
    methods/     dymo.py is Algorithm 1 over such a loop; beside it the systems it is compared with
    rewards/     images and prompts -> scores, with a gradient
    aligner.py   DyMO(reward, preset)(pipe, prompt): what users call; generation/ is one such call

    miniature/   a small trained pipeline with rewards and a judge; bench/, study/, report/ compare
    commands/, studio/, comfy/   the command line, the page in the browser, the nodes
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .aligner import DyMO
    from .budget import Budget
    from .config import PRESETS, Config
    from .errors import ConfigError, DyMOError, PipelineError, PromptError, RewardError, RewardHackingWarning
    from .miniature import load_miniature
    from .prompt import SemanticGraph, TokenPairs, parse, token_pairs
    from .rewards import BlackBoxReward, Reward, load_reward
    from .trace import Trace

try:
    __version__ = metadata.version("dymo-diffusion")
except metadata.PackageNotFoundError:  # run from its sources, not installed
    __version__ = "unknown"

# Where each public name lives. Looked up when first asked for: torch and diffusers take seconds to import, and neither
# `dymo --help` nor reading a prompt needs them.
_HOMES = {
    "aligner": ("DyMO",),
    "config": ("PRESETS", "Config"),
    "errors": ("ConfigError", "DyMOError", "PipelineError", "PromptError", "RewardError", "RewardHackingWarning"),
    "budget": ("Budget",),
    "miniature": ("load_miniature",),
    "prompt": ("SemanticGraph", "TokenPairs", "parse", "token_pairs"),
    "rewards": ("BlackBoxReward", "Reward", "load_reward"),
    "trace": ("Trace",),
}

__all__ = [
    "PRESETS", "BlackBoxReward", "Budget", "Config", "ConfigError", "DyMO", "DyMOError", "PipelineError", "PromptError", "Reward",
    "RewardError", "RewardHackingWarning", "SemanticGraph", "TokenPairs", "Trace", "load_miniature", "load_reward", "parse", "token_pairs",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            value = globals()[name] = getattr(import_module(f".{home}", __name__), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
