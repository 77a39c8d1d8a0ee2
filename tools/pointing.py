"""The pointing game: does a word's attention map have its maximum inside the word's object?

    python -m tools.pointing [--scenes 400] [--timestep 600]

Real scenes are noised to t, the denoiser sees them with their caption, and the conditional maps are read just as the
semantic objective reads them (same layers, mean over heads and layers). A map hits where its maximum lies in a cell
that the object covers by at least a quarter. Needs the emoji of the training recipes (--cache).
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

from dymo import load_miniature
from dymo.guidance.objectives import word_map
from dymo.miniature.world import captions
from dymo.pipelines.families import family_of
from dymo.pipelines.taps import AttentionTaps
from dymo.report.interval import paired_bootstrap
from training.denoiser import word_positions
from training.scenes import Composer

LIMITS = {"nouns": 90.0, "colours": 80.0}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=384)
    parser.add_argument("--timestep", type=int, default=600)
    parser.add_argument("--map-size", type=int)
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    args = parser.parse_args()
    pipe, rng = load_miniature(), random.Random(12)
    composer, chosen = Composer(args.cache), captions("test", args.scenes)
    generator = torch.Generator().manual_seed(12)
    layers, (side, _) = family_of(pipe).attention(pipe, (16, 16), args.map_size)
    hits: dict[str, list[float]] = {"nouns": [], "colours": []}
    abar = pipe.scheduler.alphas_cumprod[args.timestep]
    with torch.no_grad(), AttentionTaps(layers) as taps:
        for caption in chosen:
            scene = composer.compose(caption, rng)
            image = torch.from_numpy(scene.image).permute(2, 0, 1)[None].float() / 127.5 - 1
            z0 = pipe.vae.encode(image).latent_dist.mean * pipe.vae.config.scaling_factor
            z = abar.sqrt() * z0 + (1 - abar).sqrt() * torch.randn(z0.shape, generator=generator)
            ids = pipe.tokenizer(
                caption.text, padding="max_length", max_length=pipe.tokenizer.model_max_length, return_tensors="pt"
            )
            taps.clear()
            pipe.unet(z, args.timestep, pipe.text_encoder(ids.input_ids).last_hidden_state)
            maps = taps.maps()[0]
            cells = F.adaptive_avg_pool2d(torch.from_numpy(scene.masks).float(), side).flatten(1)
            # A thing's words point at any of its objects: "two red apples" has two masks.
            inside = [cells[[i == k for i in caption.instances]].amax(0) for k in range(len(caption.things))]
            for mask, (colour, noun, _) in zip(inside, word_positions(caption.text), strict=True):
                for kind, position in (("nouns", noun), ("colours", colour)):
                    hits[kind].append(float(mask[word_map(maps, (position,)).argmax()] >= 0.25))
    good = True
    for kind, found in hits.items():
        rate = paired_bootstrap([100 * h for h in found])
        good &= rate.mean >= LIMITS[kind]
        print(
            f"{kind}: {rate.mean:.1f} % [{rate.low:.1f}, {rate.high:.1f}] of {len(found)} maps at {side}x{side}, at least {LIMITS[kind]:g}"
        )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
