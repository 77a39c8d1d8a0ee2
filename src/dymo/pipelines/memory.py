"""Whether one image of a size fits into the memory there is, as far as that is known before it is generated."""

from __future__ import annotations

import sys
import weakref
from typing import Any

import psutil
import torch
from torch import nn

from ..errors import ConfigError
from ..parts import Argument

_PROBE = 8
"""Side of the latents that a decoder's bytes are counted on."""
_COUNTED: weakref.WeakKeyDictionary[nn.Module, float] = weakref.WeakKeyDictionary()


def check_memory(pipe: Any, height: int, width: int) -> None:
    """Raises ConfigError where decoding one such image takes more memory than the pipeline's device has in all."""
    needed, device = height * width * bytes_per_pixel(getattr(pipe, "vae", None)), torch.device(pipe._execution_device)
    if needed > (there := _memory(device)):
        raise ConfigError(
            Argument("height", height) if height >= width else Argument("width", width),
            f": decoding {width} x {height} pixels takes {needed / 1e9:,.0f} GB or more, and there are {there / 1e9:,.0f} GB ({device}); give less"
        )


def bytes_per_pixel(vae: Any) -> float:
    """What a VAE's decoder holds at the least for each pixel of an image: what its largest convolution reads and gives.

    Nothing is computed. 0 for a decoder of another kind than Stable Diffusion's, of which that is not known.
    """
    from diffusers.models.autoencoders.vae import Decoder

    if not isinstance(getattr(vae, "decoder", None), Decoder):
        return 0.0
    if vae not in _COUNTED:
        with torch.device("meta"):
            # Made anew: the hooks of an offload would bring the weights to the device.
            decoder = type(vae).from_config(vae.config).decoder.to(vae.dtype)
            latents = torch.empty(1, decoder.conv_in.in_channels, _PROBE, _PROBE, dtype=vae.dtype)
        held: list[int] = []
        for module in decoder.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(lambda _, given, made: held.append(given[0].nbytes + made.nbytes))
        with torch.no_grad():
            image = decoder(latents)
        _COUNTED[vae] = max(held) / (image.shape[-1] * image.shape[-2])
    return _COUNTED[vae]


def _memory(device: torch.device) -> float:
    """Bytes of a device in all; infinity where that is not known."""
    if device.type in ("cpu", "mps"):
        return psutil.virtual_memory().total + psutil.swap_memory().total
    # On Windows the driver goes on in main memory where a card's own is full.
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" and sys.platform != "win32" else float("inf")
