"""The size of images, as a call gives it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError


def check_side(said: object, side: int) -> None:
    """Raises ConfigError for a height or width, named by `said`, that no pipeline of these families decodes: they are multiples of 8."""
    if side < 8 or side % 8:
        raise ConfigError(said, f" {side}: must be a multiple of 8; the nearest is {max(8, round(side / 8) * 8)}")


def whole_size(pipe: Any, call: Mapping[str, Any]) -> dict[str, Any]:
    """The call with the model's own side beside one that is given: Stable Diffusion's pipeline passes over a side alone.

    Raises ConfigError where no memory there is holds one image of that size.
    """
    own, whole = getattr(getattr(getattr(pipe, "unet", None), "config", None), "sample_size", None), dict(call)
    if own is not None and (call.get("height") is None) != (call.get("width") is None):
        height, width = (own, own) if isinstance(own, int) else own
        whole = {"height": height * pipe.vae_scale_factor, "width": width * pipe.vae_scale_factor, **call}
    if whole.get("height") is not None and whole.get("width") is not None:
        from .memory import check_memory

        check_memory(pipe, whole["height"], whole["width"])
    return whole
