"""The systems that DyMO is compared with, and DyMO itself, behind one contract and one compute account."""

from .contract import Method, Result
from .registry import METHODS, follows_gradient, load_method, needs_reward, reads_reward

__all__ = ["METHODS", "Method", "Result", "follows_gradient", "load_method", "needs_reward", "reads_reward"]
