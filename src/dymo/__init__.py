"""DyMO: align the pictures of a diffusion pipeline with prompts and taste, at test time."""

from .aligner import DyMO
from .config import PRESETS, Config
from .errors import ConfigError, DyMOError, PipelineError, PromptError, RewardError
from .guidance.recurrence import Budget
from .miniature import load_miniature
from .prompt import SemanticGraph, TokenPairs, parse, token_pairs
from .rewards import Reward, load_reward
from .trace import Trace

__all__ = [
    "PRESETS", "Budget", "Config", "ConfigError", "DyMO", "DyMOError", "PipelineError", "PromptError", "Reward",
    "RewardError", "SemanticGraph", "TokenPairs", "Trace", "load_miniature", "load_reward", "parse", "token_pairs",
]  # fmt: skip
