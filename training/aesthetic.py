"""Train mini-aesthetic: an affine head on the unit embedding of mini-pickscore's image tower, as LAION's is on CLIP's.

    python -m training.aesthetic [--device cpu]

It never sees a text. Clean images are worth 1 and spoilt ones 0, whatever they show; the head is trained by regression.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from dymo.rewards.head import AffineHead

from . import stack
from .augment import to_images
from .fit import arguments, begin, fit, of_pair, record
from .scorers import GROUPS, PROJECTION, groups, image_features, mini_clip

HIDDEN = (64, 32, 16, 8)


def mini_head() -> AffineHead:
    return AffineHead(PROJECTION, HIDDEN)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--lr", type=float, default=2e-3)
    args = parser.parse_args()
    begin(args)
    clip = of_pair("pickscore", "clip", mini_clip(stack.tokenizer()), args.cache).to(args.device)

    @torch.no_grad()
    def embedded(images: np.ndarray) -> torch.Tensor:
        """(n, 4, 128, 128, 3) uint8 -> (n, 4, 256)."""
        parts = torch.from_numpy(images).flatten(0, 1).split(256)
        return torch.cat([image_features(clip, to_images(p).to(args.device))[0] for p in parts]).unflatten(0, (-1, 4))

    known = embedded(groups(args.cache, GROUPS, args.seed)["images"]).flatten(0, 1)
    clean = torch.tensor([1.0, 0.0]).repeat(len(known) // 2).to(args.device)
    head = mini_head().to(args.device)

    def losses(generator: torch.Generator, step: int) -> dict[str, torch.Tensor]:
        pick = torch.randint(0, len(known), (args.batch,), generator=generator)
        return {"regression": F.mse_loss(head(known[pick]), clean[pick])}

    fit("aesthetic", head, losses, args, steps=args.steps, lr=args.lr)
    with torch.no_grad():
        scores = head(embedded(groups(args.cache, 1000, seed=1000, test=True)["images"]))
    right = (scores[:, 0] > scores[:, 1]).float().mean().item(), (scores[:, 2] > scores[:, 3]).float().mean().item()
    record(mini_aesthetic={"quality": round(right[0], 4), "quality_of_wrong_images": round(right[1], 4)})


if __name__ == "__main__":
    main()
