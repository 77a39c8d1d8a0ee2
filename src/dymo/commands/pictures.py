"""The name by which `commands/rewards.py` still imports this; delete it together with that import."""

from .images import read_image as read_picture

__all__ = ["read_picture"]
