"""Diffusion-DPO on the miniature: the denoiser's LoRA from pairs of images of one prompt.

    python -m training.diffusion_dpo [--steps 400] [--minutes 10]

The pairs are those that the scorers learn from: a clean image against its spoilt twin, a right one against a wrong.
"""

from __future__ import annotations

import torch

from . import lora
from .preference_losses import dpo_loss
from .scorers import GROUPS, groups

BETA = 5000.0


def main() -> None:
    args = lora.arguments(__doc__, steps=400, lr=1e-4, batch=16)
    pipe = lora.miniature(args.rank, args.seed)
    data, denoising = groups(args.cache, GROUPS, args.seed), lora.Denoising(pipe, args.cache)

    def losses(generator: torch.Generator, step: int) -> torch.Tensor:
        rows = torch.randint(0, GROUPS, (args.batch,), generator=generator).numpy()
        # The first of a group is right and clean; the second is spoilt, the third wrong.
        others = torch.randint(1, 3, (args.batch,), generator=generator).numpy()
        pair = [denoising.latents(data["images"][rows, which]) for which in (0 * others, others)]
        words = denoising.words([str(data["right"][row]) for row in rows])
        noise, t = denoising.draw(args.batch, generator)
        with lora.reference(pipe.unet):
            expected = [denoising.error(z0, noise, t, words) for z0 in pair]
        found = [denoising.error(z0, noise, t, words) for z0 in pair]
        return dpo_loss(*found, *expected, BETA)

    lora.train("diffusion-dpo", pipe, losses, args)


if __name__ == "__main__":
    main()
