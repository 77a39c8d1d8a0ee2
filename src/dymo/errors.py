"""The errors that dymo raises on purpose; each is also the built-in kind a caller would expect."""

from __future__ import annotations


class DyMOError(Exception):
    """The base of every error that dymo raises on purpose."""


class PromptError(DyMOError, ValueError):
    """A prompt, or the semantic graph given for it, cannot be used."""


class ConfigError(DyMOError, ValueError):
    """A setting is out of range or contradicts another one."""


class PipelineError(DyMOError, RuntimeError):
    """A diffusers pipeline cannot be guided, or did not behave as it must."""


class RewardError(DyMOError, RuntimeError):
    """A reward cannot be loaded, or its scores cannot be used."""


class PromptWarning(UserWarning):
    """A prompt was read less well than it might be: in another language, or by another parser than asked for."""


class RewardHackingWarning(RuntimeWarning):
    """The guiding reward rises while held-out rewards fall."""
