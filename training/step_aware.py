"""Train mini-step-aware: mini-pickscore whose image tower is told the timestep, on noisy one-step predictions.

    python -m training.step_aware [--device cpu] [--minutes 15]

The images of a group are noised to one t and predicted back by the miniature's own denoiser, conditioned on the prompt:
what a guide sees during denoising. The preference between them stays what it was between the clean images. It starts
from mini-pickscore, where the timestep changes nothing yet.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import StableDiffusionPipeline

from dymo.rewards.step_aware import StepAwareCLIP

from . import stack
from .augment import to_images
from .fit import arguments, begin, fit, of_pair, record
from .scenes import SIZE
from .scorers import PAIRS, groups, image_features, mini_clip, normalised, preference, text_features

NOISIEST = 900
"""Above it the predictions of a right and of a wrong image are much the same."""


def mini_step_aware(tok) -> StepAwareCLIP:
    return StepAwareCLIP(mini_clip(tok).config)


@torch.no_grad()
def predictions(args, n: int, seed: int, test: bool = False) -> dict[str, np.ndarray]:
    """The images of `groups(n)` as predicted from one t a group; kept on disk. images as there, timestep (n,)."""
    path: Path = args.cache / f"predictions-{n}-{seed}-{'test' if test else 'train'}.npz"
    if not path.exists():
        data, generator = groups(args.cache, n, seed, test), torch.Generator().manual_seed(seed)
        pipe = StableDiffusionPipeline.from_pretrained(args.weights / "pipeline", dtype=torch.float32).to(
            args.device
        )
        abar, w = pipe.scheduler.alphas_cumprod.to(args.device), args.guidance_scale
        timestep = torch.randint(1, NOISIEST, (n,), generator=generator)
        made = np.zeros_like(data["images"])
        for i in range(0, n, 16):
            x = to_images(torch.from_numpy(data["images"][i : i + 16]).flatten(0, 1)).to(args.device)
            t = timestep[i : i + 16].repeat_interleave(4).to(args.device)
            texts = [str(text) for text in data["right"][i : i + 16] for _ in range(4)]
            words = torch.cat(pipe.encode_prompt(texts, args.device, 1, True)[::-1])
            z = pipe.vae.encode(2 * x - 1).latent_dist.mode() * pipe.vae.config.scaling_factor
            a = abar[t].view(-1, 1, 1, 1)
            zt = a.sqrt() * z + (1 - a).sqrt() * torch.randn(z.shape, generator=generator).to(args.device)
            without, with_words = pipe.unet(torch.cat([zt, zt]), torch.cat([t, t]), words).sample.chunk(2)
            z0 = a.sqrt() * zt - (1 - a).sqrt() * torch.lerp(without, with_words, w)
            shown = pipe.vae.decode(z0 / pipe.vae.config.scaling_factor).sample / 2 + 0.5
            stored = (shown.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).unflatten(0, (-1, 4))
            made[i : i + 16] = stored.cpu().numpy()
        np.savez(path, images=made, timestep=timestep.numpy(), right=data["right"])
    return dict(np.load(path))


def scores(model: StepAwareCLIP, images: torch.Tensor, t: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
    """exp(logit_scale) cos of images (B, 3, 128, 128) at t (B,) and texts (B, d)."""
    unit = F.normalize(model.image_features(normalised(images), t), dim=-1)
    return model.logit_scale.clamp(max=4.6).exp() * (unit * words).sum(1)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--batch", type=int, default=24, help="pairs a step")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument(
        "--weights", type=Path, default=Path("src/dymo/miniature/weights"), help="with the pipeline in it"
    )
    parser.add_argument("--guidance-scale", type=float, default=3.0)
    args = parser.parse_args()
    begin(args)
    tok, n = stack.tokenizer(), args.batch
    plain = of_pair("pickscore", "clip", mini_clip(tok), args.cache)
    model = mini_step_aware(tok)
    model.load_state_dict(plain.state_dict(), strict=False)
    model.to(args.device), plain.to(args.device)
    # Only what reads the timestep learns: 3000 groups are too few to move the towers without learning them by heart.
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("adaLN" in name or "t_embedder" in name)
    data = predictions(args, 3000, args.seed)
    images, timestep = torch.from_numpy(data["images"]), torch.from_numpy(data["timestep"])
    window = dict(padding="max_length", max_length=stack.WINDOW, return_tensors="pt")
    ids = tok([str(t) for t in data["right"]], **window).input_ids

    def losses(generator: torch.Generator, step: int) -> dict[str, torch.Tensor]:
        pick = torch.randint(0, len(ids), (n,), generator=generator)
        kinds = torch.multinomial(torch.tensor([p[2] for p in PAIRS]), n, replacement=True, generator=generator)
        columns = torch.tensor([[p[0] for p in PAIRS], [p[1] for p in PAIRS]])[:, kinds].flatten()
        dy, dx = torch.randint(0, 13, (2,), generator=generator).tolist()
        shown = F.pad(to_images(images[pick.repeat(2), columns]), (6, 6, 6, 6), mode="replicate")
        shown = shown[:, :, dy : dy + SIZE, dx : dx + SIZE].to(args.device)
        with torch.no_grad():
            words = text_features(model, ids[pick].to(args.device)).repeat(2, 1)
        first, second = scores(model, shown, timestep[pick].repeat(2).to(args.device), words).chunk(2)
        return {
            "preference": preference(first, second, torch.tensor([p[3] for p in PAIRS])[kinds].to(args.device)).mean()
        }

    fit("step-aware", model, losses, args, steps=args.steps, lr=args.lr, weight_decay=0.05)
    fresh = predictions(args, 1000, 1000, test=True)
    shown, timestep = torch.from_numpy(fresh["images"]), torch.from_numpy(fresh["timestep"])
    ids = tok([str(text) for text in fresh["right"]], **window).input_ids
    towers = {
        "": (model, lambda x, t: F.normalize(model.image_features(normalised(x), t), dim=-1)),
        "mini_pickscore_on_them_": (plain, lambda x, t: image_features(plain, x)[0]),
    }
    found = {}
    for name, (clip, embed) in towers.items():
        cosines = torch.zeros(4, len(ids))
        for part in torch.arange(len(ids)).split(100):
            t = timestep[part].to(args.device)
            with torch.no_grad():
                words = text_features(clip, ids[part].to(args.device))
                for j in range(4):
                    images = to_images(shown[part, j]).to(args.device)
                    cosines[j, part] = (embed(images, t) * words).sum(1).cpu()
        found[f"{name}quality"] = round((cosines[0] > cosines[1]).float().mean().item(), 4)
        found[f"{name}content"] = round((cosines[0] > cosines[2]).float().mean().item(), 4)
    record(mini_step_aware=found)


if __name__ == "__main__":
    main()
