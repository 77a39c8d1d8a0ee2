"""From the one-step prediction to a picture, with a gradient."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def decoder(vae: Any) -> Callable[[Tensor], Tensor]:
    """z0' (B, c, h, w), scaled as the denoiser sees it -> pictures (B, 3, H, W) in [0, 1], float32.

    `vae` is an AutoencoderKL, or an AutoencoderTiny (whose scaling factor is 1). A VAE that overflows in half
    precision is copied to float32 once, since the pipeline's own upcast comes only at the end: its file says
    `force_upcast` (SDXL's); where that is but the class's default (SD1.5's) half precision is what pipelines use.
    """
    said = getattr(vae.config, "force_upcast", False) and "force_upcast" not in vae.config.get(
        "_use_default_values", ()
    )
    if vae.dtype == torch.float16 and said:
        vae = copy.deepcopy(vae).float()
    factor = getattr(vae.config, "scaling_factor", None) or 1.0
    shift = getattr(vae.config, "shift_factor", None) or 0.0
    mean, std = (getattr(vae.config, f"latents_{name}", None) for name in ("mean", "std"))

    def decode(z0: Tensor) -> Tensor:
        z = z0 / factor + shift
        if mean is not None and std is not None:
            z = z0 * z0.new_tensor(std).view(1, -1, 1, 1) / factor + z0.new_tensor(mean).view(1, -1, 1, 1)
        return (vae.decode(z.to(vae.dtype), return_dict=False)[0].float() / 2 + 0.5).clamp(0, 1)

    return decode
