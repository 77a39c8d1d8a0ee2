"""The systems that DyMO is compared with, and DyMO itself, behind one contract and one compute account."""

from .contract import Method, Result
from .registry import METHODS, load_method, reads_reward

__all__ = ["METHODS", "Method", "Result", "load_method", "reads_reward"]
