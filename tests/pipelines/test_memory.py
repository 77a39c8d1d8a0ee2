"""What an image needs of memory at the least."""

from __future__ import annotations

import pytest
import tiny
import torch
from torch import nn

from dymo.pipelines.memory import bytes_per_pixel


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_bytes_of_a_pixel_are_those_of_the_decoding_itself(dtype):
    vae = tiny.sd().vae.to(dtype)
    said, held = bytes_per_pixel(vae), []
    for module in vae.decoder.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _, given, made: held.append(given[0].nbytes + made.nbytes))
    with torch.no_grad():
        image = vae.decode(torch.zeros(1, vae.config.latent_channels, 4, 12, dtype=dtype)).sample
    assert said * image[0, 0].numel() == max(held) > 0
