"""AlignProp on the miniature: the reward's gradient through the chain into the denoiser's LoRA.

    python -m training.align_prop [--steps 100] [--minutes 10]

Stochastic DDIM (eta 1), the gradient truncated at a random step; prompts of the train split.
"""

from __future__ import annotations

import random

import torch

from dymo import load_reward
from dymo.guidance.loop import Loop
from dymo.miniature.world import sample_caption, split_of
from dymo.pipelines.decode import decoder
from dymo.pipelines.loop import PipelineLoop
from dymo.trace import Cost

from . import lora
from .preference_losses import terminal_step

STEPS, GUIDANCE = 25, 3.0


def truncated(loop: Loop, first: int) -> None:
    """The plain trajectory; nothing before the step `first` passes a gradient."""
    for now in loop:
        z = loop.sampler_step(loop.predict())
        loop.accept(z.detach() if now.index < first else z)


def prompts(n: int, seed: int) -> list[str]:
    """Captions of two and three things that the test split does not have."""
    rng, found = random.Random(f"align-{seed}"), []
    while len(found) < n:
        caption = sample_caption(rng, objects=rng.choice((2, 3)))
        if split_of(caption) == "train":
            found.append(caption.text)
    return found


def main() -> None:
    args = lora.arguments(__doc__, steps=100, lr=1e-3, batch=4)
    pipe = lora.miniature(args.rank, args.seed)
    reward = load_reward("mini-pickscore")

    def losses(generator: torch.Generator, step: int) -> torch.Tensor:
        words = prompts(args.batch, args.seed * 1_000_003 + step)
        first = terminal_step(STEPS, generator)
        call = dict(num_inference_steps=STEPS, guidance_scale=GUIDANCE, eta=1.0)
        reward.to(pipe.device)
        kwargs = {**call, "prompt": words, "generator": generator, "output_type": "pt"}
        with torch.enable_grad(), PipelineLoop(pipe, kwargs, decode=decoder(pipe.vae), cost=Cost(), whole=True) as loop:
            truncated(loop, first)
        return -reward.score(loop.result.images, words)

    lora.train("align-prop", pipe, losses, args)


if __name__ == "__main__":
    main()
