"""Diffusion-KTO on the miniature: the denoiser's LoRA from single images that are liked or not.

    python -m training.diffusion_kto [--steps 400] [--minutes 10]

Liked is a picture that is clean and shows what its prompt says; disliked one that is spoilt or wrong.
"""

from __future__ import annotations

import torch

from . import lora
from .preference_losses import kto_loss
from .scorers import GROUPS, groups

BETA = 5000.0


def main() -> None:
    args = lora.arguments(__doc__, steps=400, lr=1e-4, batch=32)
    pipe = lora.miniature(args.rank, args.seed)
    data, denoising = groups(args.cache, GROUPS, args.seed), lora.Denoising(pipe, args.cache)

    def losses(generator: torch.Generator, step: int) -> torch.Tensor:
        rows = torch.randint(0, GROUPS, (args.batch,), generator=generator).numpy()
        liked = torch.rand(args.batch, generator=generator) < 0.5
        disliked = torch.randint(1, 4, (args.batch,), generator=generator)
        which = torch.where(liked, 0, disliked).numpy()
        z0 = denoising.latents(data["images"][rows, which])
        words = denoising.words([str(data["right"][row]) for row in rows])
        noise, t = denoising.draw(args.batch, generator)
        with lora.reference(pipe.unet):
            expected = denoising.error(z0, noise, t, words)
        return kto_loss(denoising.error(z0, noise, t, words), expected, liked.to(z0.device), BETA)

    lora.train("diffusion-kto", pipe, losses, args)


if __name__ == "__main__":
    main()
