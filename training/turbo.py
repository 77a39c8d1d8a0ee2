"""Distil the denoiser into a student of one to eight steps: latent consistency distillation (Luo et al., arXiv 2310.04378).

    python -m training.turbo [--steps 1500] [--guidance 4]

f(z_t, t) = c_skip(t) z_t + c_out(t) z0'(z_t, t), as `LCMScheduler` has it, is asked to be the same at both ends of one
DDIM step of the teacher, whose classifier-free guidance the student takes over: it generates at guidance scale 1. The
target is the student itself without a gradient (Song & Dhariwal, arXiv 2310.14189). The text encoder stays.
"""

from __future__ import annotations

from functools import partial

import torch
from diffusers import LCMScheduler
from torch import Tensor

from . import stack
from .denoiser import training_set
from .fit import arguments, begin, fit
from .fit import part as under

GRID = 50
"""Steps of the teacher's trajectory."""
HUBER = 0.03
"""Of the pseudo-Huber loss, a latent; where the square becomes the absolute value."""


def scheduler() -> LCMScheduler:
    return LCMScheduler.from_config(stack.scheduler().config, original_inference_steps=GRID, timestep_spacing="leading")


def boundary(t: Tensor, sigma: float = 0.5, scaling: float = 10.0) -> tuple[Tensor, Tensor]:
    """c_skip and c_out (B, 1, 1, 1) of LCMScheduler at t (B,): at t = 0, 1 and 0."""
    scaled = scaling * t.float().view(-1, 1, 1, 1)
    norm = scaled.square() + sigma**2
    return sigma**2 / norm, scaled / norm.sqrt()


def split(v: Tensor, z: Tensor, a: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """z0' and eps' of a v-prediction at z = a z0 + s eps; all (B, ...)."""
    return a * z - s * v, s * z + a * v


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--guidance", type=float, default=4.0, help="the teacher's scale")
    parser.add_argument("--shards", type=int, default=10)
    args = parser.parse_args()
    begin(args)
    latents, _, _, captions = training_set(args.cache, args.shards, args.seed)
    tok = stack.tokenizer()
    window = dict(padding="max_length", max_length=stack.WINDOW, return_tensors="pt")
    ids, empty = tok(captions, **window).input_ids, tok("", **window).input_ids
    latents, ids = latents.to(args.device), ids.to(args.device)
    saved = torch.load(args.cache / "denoiser.pt", weights_only=True, map_location="cpu")["ema"]
    teacher, student, text = stack.denoiser(), stack.denoiser(), stack.text_encoder(tok)
    for model in (teacher, student):
        model.load_state_dict(under(saved, "unet."))
        model.to(args.device, memory_format=torch.channels_last)
    text.load_state_dict(under(saved, "text."))
    teacher.eval().requires_grad_(False), text.to(args.device).eval().requires_grad_(False)
    abar = stack.scheduler().alphas_cumprod.to(args.device)
    autocast = partial(torch.autocast, args.device.split(":")[0], torch.bfloat16)
    nothing = text(empty.to(args.device)).last_hidden_state

    def at(t: Tensor) -> tuple[Tensor, Tensor]:
        there = abar[t].view(-1, 1, 1, 1)
        return there.sqrt(), (1 - there).sqrt()

    def consistent(z: Tensor, t: Tensor, words: Tensor) -> Tensor:
        """f of the student."""
        with autocast():
            v = student(z, t, words).sample.float()
        skip, out = boundary(t)
        return skip * z + out * split(v, z, *at(t))[0]

    def losses(generator: torch.Generator, step: int) -> dict[str, Tensor]:
        pick = torch.randint(0, len(latents), (args.batch,), generator=generator)
        z0 = latents[pick.to(args.device)].float()
        gap = 1000 // GRID
        t = (torch.randint(1, GRID + 1, (args.batch,), generator=generator) * gap - 1).to(args.device)
        before = (t - gap).clamp_min(0)
        noise = torch.randn(z0.shape, generator=generator).to(args.device)
        a, s = at(t)
        z = (a * z0 + s * noise).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            words = text(ids[pick.to(args.device)]).last_hidden_state
            with autocast():
                both = teacher(
                    torch.cat([z, z]), torch.cat([t, t]), torch.cat([nothing.expand_as(words), words])
                ).sample.float()
            without, with_words = both.chunk(2)
            x0, eps = split(without + args.guidance * (with_words - without), z, a, s)
            a_to, s_to = at(before)
            # At t = 0 the trajectory has arrived: the latents themselves are the target.
            arrived = (before == 0).view(-1, 1, 1, 1)
            earlier = torch.where(arrived, x0, a_to * x0 + s_to * eps)
            wanted = torch.where(arrived, x0, consistent(earlier, before, words))
        error = consistent(z, t, words) - wanted
        return {"consistency": ((error.square() + HUBER**2).sqrt() - HUBER).mean()}

    fit("turbo", student, losses, args, steps=args.steps, lr=args.lr, weight_decay=0.0)


if __name__ == "__main__":
    main()
