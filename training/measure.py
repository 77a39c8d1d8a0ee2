"""Measure the unguided denoiser: what the judge and the classifier read from its images, with intervals.

    python -m training.measure [--guidance 2 3 4] [--n 64] [--sheet sheet.png] [--weights ema] [--linear]
    python -m training.measure --sides 256

By the number of things (captions of the tune split; single things of training): the share of images that show all
that their caption says, and the share of things that the classifier names. Intervals are Wilson's, 95 %.
With --sides: the share of scenes whose loss at t is smaller with their own caption than with that of the opposite side.
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from PIL import Image, ImageDraw
from transformers import CLIPTextModel, CLIPTokenizer

from dymo.miniature.judge import satisfied
from dymo.miniature.world import ALL_THINGS, NOUNS, Caption, caption_of, captions, sample_caption

from . import stack
from .autoencoder import kl
from .classifier import Classifier, named
from .denoiser import SHARD
from .fit import arguments, begin, part, trained
from .judge import OPPOSITE, trained_judge
from .scenes import dataset


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share of `hits` among `n`."""
    z, p = 1.96, hits / n
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return round(middle - reach, 3), round(middle + reach, 3)


def denoiser(cache: Path, weights: str) -> tuple[CLIPTokenizer, CLIPTextModel, UNet2DConditionModel, int]:
    """The parts of the last checkpoint, and its step."""
    saved = torch.load(cache / "denoiser.pt", weights_only=True, map_location="cpu")
    tok = stack.tokenizer()
    unet, text = stack.denoiser(), stack.text_encoder(tok)
    unet.load_state_dict(part(saved[weights], "unet.")), text.load_state_dict(part(saved[weights], "text."))
    return tok, text.eval().requires_grad_(False), unet.eval().requires_grad_(False), saved["step"]


@torch.no_grad()
def generate(parts, prompts: list[str], scale: float, steps: int, seed: int, device: str = "cpu") -> torch.Tensor:
    """Latents (n, 16, 16, 16) by DDIM with classifier-free guidance; each prompt's noise has its own seed."""
    tok, text, unet, _ = parts
    window = dict(padding="max_length", max_length=stack.WINDOW, return_tensors="pt")
    said = text(tok(prompts, **window).input_ids.to(device)).last_hidden_state
    empty = text(tok([""] * len(prompts), **window).input_ids.to(device)).last_hidden_state
    scheduler = stack.scheduler()
    scheduler.set_timesteps(steps)
    z = torch.stack(
        [torch.randn(16, 16, 16, generator=torch.Generator().manual_seed(seed + i)) for i in range(len(prompts))]
    ).to(device)
    for t in scheduler.timesteps:
        without, with_words = unet(torch.cat([z, z]), t, torch.cat([empty, said])).sample.chunk(2)
        z = scheduler.step(without + scale * (with_words - without), t, z).prev_sample
    return z


def single(n: int, seed: int = 0) -> list[Caption]:
    rng = random.Random(f"single-{seed}")
    return [sample_caption(rng, ALL_THINGS, objects=1) for _ in range(n)]


def sheet(path: Path, images: torch.Tensor, texts: list[str], right: list[bool], columns: int = 8) -> None:
    """A contact sheet of images (n, 3, 128, 128) in [0, 1] under their texts; green where the judge accepts."""
    rows = -(-len(images) // columns)
    made = Image.new("RGB", (columns * 132, rows * 154), "white")
    pen = ImageDraw.Draw(made)
    for i, (image, text, ok) in enumerate(zip(images, texts, right, strict=True)):
        x, y = i % columns * 132, i // columns * 154
        made.paste(Image.fromarray((image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()), (x, y))
        lines = text[:26], text[26:]
        pen.text((x, y + 128), "\n".join(lines), fill=(0, 120, 0) if ok else (170, 0, 0), font_size=9)
    made.quantize(200).save(path, optimize=True)


@torch.no_grad()
def sides(parts, cache: Path, n: int, t: int) -> float:
    """The share of `n` training scenes with a side whose captions the denoiser tells from their opposites at `t`."""
    tok, text, unet, _ = parts
    data, a = dataset(cache, SHARD, seed=0), stack.scheduler().alphas_cumprod[t]
    said = [caption_of(str(caption)) for caption in data["captions"]]
    chosen = [i for i, caption in enumerate(said) if caption.relation in OPPOSITE][:n]
    z0 = stack.pca(cache).encode(torch.from_numpy(data["images"][chosen]))
    noise = torch.randn(z0.shape, generator=torch.Generator().manual_seed(t))
    zt, v = a.sqrt() * z0 + (1 - a).sqrt() * noise, a.sqrt() * noise - (1 - a).sqrt() * z0

    def losses(captions: list[Caption]) -> torch.Tensor:
        ids = tok([c.text for c in captions], padding="max_length", max_length=stack.WINDOW, return_tensors="pt").input_ids
        return (unet(zt, t, text(ids).last_hidden_state).sample - v).square().mean((1, 2, 3))

    own = [said[i] for i in chosen]
    return (losses(own) < losses([replace(c, relation=OPPOSITE[c.relation]) for c in own])).float().mean().item()


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--guidance", type=float, nargs="+", default=[3.0])
    parser.add_argument("--sides", type=int, default=0, help="measure them, on so many scenes, and nothing else")
    parser.add_argument("--n", type=int, default=64, help="images for each number of things")
    parser.add_argument("--inference-steps", type=int, default=25)
    parser.add_argument("--weights", choices=("ema", "model"), default="ema")
    parser.add_argument("--linear", action="store_true", help="decode by the linear inverse")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet of the first guidance scale's images")
    args = parser.parse_args()
    begin(args)
    parts = denoiser(args.cache, args.weights)
    if args.sides:
        print(json.dumps({"step": parts[3], **{f"sides at {t}": round(sides(parts, args.cache, args.sides, t), 3) for t in (999, 900, 700)}}))
        return
    parts[1].to(args.device), parts[2].to(args.device)
    space, judge = stack.pca(args.cache), trained_judge(args.cache)
    vae = (
        None
        if args.linear or not (args.cache / "autoencoder.pt").exists()
        else trained("autoencoder", kl(), args.cache)
    )
    namer = trained("classifier", Classifier(), args.cache) if (args.cache / "classifier.pt").exists() else None
    asked = {1: single(args.n), 2: captions("tune", args.n, things=2), 3: captions("tune", args.n, things=3)}
    print(
        json.dumps(
            {"step": parts[3], "decoder": "learned" if vae else "linear", "inference_steps": args.inference_steps}
        )
    )
    shown: list[torch.Tensor] = []
    texts: list[str] = []
    right: list[bool] = []
    for scale in args.guidance:
        for things, wanted in asked.items():
            z = torch.cat(
                [
                    generate(
                        parts, [c.text for c in wanted[i : i + 16]], scale, args.inference_steps, 1000 * i, args.device
                    ).cpu()
                    for i in range(0, len(wanted), 16)
                ]
            )
            images = space.decode(z) if vae is None else vae.decode(z).sample / 2 + 0.5
            images = images.clamp(0, 1)
            verdicts = [satisfied(c, seen) for c, seen in zip(wanted, judge.read(images), strict=True)]
            correct = [v.correct for v in verdicts]
            found = {
                "guidance": scale, "things": things, "n": len(wanted), "correct": round(sum(correct) / len(wanted), 3),
                "interval": wilson(sum(correct), len(wanted)),
                **{
                    key: round(sum(getattr(v, key) for v in verdicts) / len(wanted), 3) for key in ("objects", "counts", "colours")
                },
            }  # fmt: skip
            if namer is not None:
                nouns = torch.tensor(
                    [[NOUNS.index(t.noun) for t in c.things] + [-1] * (3 - len(c.things)) for c in wanted]
                )
                hits = named(namer(images), nouns)
                found["named"] = round(hits.nanmean().item(), 3)
                found["named_interval"] = wilson(int(hits.nansum().item()), int((~hits.isnan()).sum()))
            print(json.dumps(found), flush=True)
            if scale == args.guidance[0]:
                shown.append(images[:16]), texts.extend(c.text for c in wanted[:16]), right.extend(correct[:16])
    if args.sheet:
        sheet(args.sheet, torch.cat(shown), texts, right)


if __name__ == "__main__":
    main()
