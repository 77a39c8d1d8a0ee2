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
    """The call with the model's own side beside one that is given: Stable Diffusion's pipeline passes over a side alone."""
    own = getattr(getattr(getattr(pipe, "unet", None), "config", None), "sample_size", None)
    if own is None or (call.get("height") is None) == (call.get("width") is None):
        return dict(call)
    height, width = (own, own) if isinstance(own, int) else own
    return {"height": height * pipe.vae_scale_factor, "width": width * pipe.vae_scale_factor, **call}
