"""SPO on the miniature: at each step several candidates, the best preferred to the worst.

    python -m training.spo [--steps 40] [--minutes 10]

20 DDIM steps with eta 1; candidates of a step share z_t, are compared on their one-step predictions, and one of them,
drawn at random, goes on. The miniature's scorer stands in for the step-aware preference model.
"""

from __future__ import annotations

import torch

from dymo import load_reward
from dymo.guidance.levels import predict_z0
from dymo.pipelines.decode import decoder
from dymo.pipelines.schedulers import kind_of

from . import lora
from .align_prop import prompts
from .preference_losses import spo_loss

STEPS, CANDIDATES, BETA, GUIDANCE = 20, 4, 10.0, 3.0


def main() -> None:
    args = lora.arguments(__doc__, steps=40, lr=5e-4, batch=4)
    pipe = lora.miniature(args.rank, args.seed)
    reward, decode = load_reward("mini-pickscore"), decoder(pipe.vae)
    scheduler = pipe.scheduler

    def guided(z: torch.Tensor, t: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """The denoiser's output with classifier-free guidance; words: the negative half, then the conditional one."""
        both = pipe.unet(torch.cat([z, z]), t, encoder_hidden_states=words, return_dict=False)[0]
        negative, positive = both.chunk(2)
        return negative + GUIDANCE * (positive - negative)

    def expected(output: torch.Tensor, t: torch.Tensor, z: torch.Tensor, noise: float) -> torch.Tensor:
        """z_{t-1} of the DDIM step with every element of its noise at `noise`: 0 gives the mean, 1 mean + sigma."""
        return scheduler.step(output, t, z, eta=1.0, variance_noise=torch.full_like(z, noise)).prev_sample

    def scored(z: torch.Tensor, index: int, embedded: torch.Tensor, words: list[str]) -> torch.Tensor:
        """The reward of the one-step predictions of latents (n, ...) at step `index`, (n,)."""
        output = guided(z, scheduler.timesteps[index], embedded)
        here, _ = kind_of(scheduler).levels(scheduler, index, index)
        return reward.score(decode(predict_z0(z, output, here, scheduler.config.prediction_type)).clamp(0, 1), words)

    def losses(generator: torch.Generator, step: int) -> torch.Tensor:
        words = prompts(args.batch, args.seed * 1_000_003 + step)
        reward.to(pipe.device)
        scheduler.set_timesteps(STEPS, device=pipe.device)
        with torch.no_grad():
            positive, negative = pipe.encode_prompt(words, pipe.device, 1, True)
        embedded, many = torch.cat([negative, positive]), [w for w in words for _ in range(CANDIDATES)]
        wide = torch.cat([e.repeat_interleave(CANDIDATES, 0) for e in (negative, positive)])
        shape = (args.batch, pipe.unet.config.in_channels, *[pipe.unet.config.sample_size] * 2)
        z, terms = torch.randn(shape, generator=generator).to(pipe.device), []
        # The last step is left out: no noise worth the name is drawn there, and nothing follows to compare on.
        for index, t in enumerate(scheduler.timesteps[:-1]):
            mean = expected(guided(z, t, embedded), t, z, 0.0)
            with lora.reference(pipe.unet):
                output = guided(z, t, embedded)
                ref_mean = expected(output, t, z, 0.0)
                sigma = (expected(output, t, z, 1.0) - ref_mean).flatten(1)[:, :1].view(-1, 1, 1, 1)
            with torch.no_grad():
                noise = torch.randn((CANDIDATES, *shape), generator=generator).to(z)
                made = mean.detach() + sigma * noise
                flat = made.transpose(0, 1).flatten(0, 1)
                scores = scored(flat, index + 1, wide, many).view(args.batch, CANDIDATES)
            rows = torch.arange(args.batch, device=z.device)
            best, worst = made[scores.argmax(1), rows], made[scores.argmin(1), rows]
            terms.append(spo_loss(best, worst, mean, ref_mean, sigma, BETA))
            z = made[torch.randint(0, CANDIDATES, (args.batch,), generator=generator).to(z.device), rows]
        return torch.stack(terms).mean(0)

    lora.train("spo", pipe, losses, args)


if __name__ == "__main__":
    main()
