"""Train the miniature's text encoder and denoiser: v-prediction with min-SNR weights, a grounding and a naming term.

    python -m training.denoiser --minutes 140 [--device cpu] [--start training/checkpoints/denoiser]

Resumes from the last checkpoint in --cache; --start begins from saved half-precision weights instead, with a fresh
optimiser. The learning rate warms up, stays, and comes down over the last quarter of --minutes, however many steps fit:
`denoiser-plateau.pt` is what stood before that, the best place to go on from with another budget.

The grounding term (after TokenCompose, CVPR 2024) asks the cross-attention of each noun and colour token to stay
inside its object: without it the maps of a model this small do not localise, and the semantic objective has nothing to
read. The word of a side ("left") is to stay inside the thing that stands there: a text encoder reads forwards, so it is the
first that knows, and without it no place is learnt; noisy latents, in which the layout is decided, count more here. The facts
term asks the end token's state what the caption says: without it the text encoder hardly learns which thing stands on which
side. Captions that say so are drawn more often, and so are noisy latents.
The naming term (in the spirit of REPA, ICLR 2025) has linear heads tell from the inner features which noun each
cell shows; they are not exported. Without it the colours are learnt long before the nouns.
"""

from __future__ import annotations

import argparse
import copy
import math
import re
import time
from collections.abc import Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from dymo.miniature.world import COLOURS, MOST, NOUNS, PLURALS
from dymo.pipelines.families.unet import cross_attentions
from dymo.pipelines.taps import AttentionTaps

from . import stack
from .fit import average, keep, resume
from .judge import OPPOSITE
from .scenes import dataset
from .scorers import fact_loss, facts

SHARD = 4000
NOISY = 250
"""Of the 1000 levels, the noisiest, at which the layout is decided."""
SIDES = ("left", "right", "above", "below")
NOUN_OF = {word: NOUNS.index(noun) for noun in NOUNS for word in (noun, PLURALS[noun])}


def word_positions(caption: str) -> list[tuple[int, int, int]]:
    """Of each thing (colour's token, noun's token, the noun's index): a word or comma is one token, after the start."""
    words = re.findall(r"\w+|,", caption)
    colours = [i + 1 for i, w in enumerate(words) if w in COLOURS]
    nouns = [i + 1 for i, w in enumerate(words) if w in NOUN_OF]
    return [(c, n, NOUN_OF[words[n - 1]]) for c, n in zip(colours, nouns, strict=True)]


def side_position(caption: str) -> int:
    """The token that says on which side the first thing stands, 0 where none does."""
    words = re.findall(r"\w+|,", caption)
    return next((i + 1 for i, w in enumerate(words) if w in SIDES), 0)


def by_thing(masks: torch.Tensor, nouns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Masks (n, 3, h, w) uint8 and nouns (n, 3) of objects, equal ones joined in the first: "two red apples" is one thing."""
    masks, nouns = masks.clone(), nouns.clone()
    for j in range(1, MOST):
        for i in range(j):
            same = ((nouns[:, i] == nouns[:, j]) & (nouns[:, j] >= 0))[:, None, None]
            masks[:, i] += torch.where(same, masks[:, j], 0)  # objects do not overlap
            masks[:, j] = torch.where(same, 0, masks[:, j])
            nouns[:, j] = torch.where(same[:, 0, 0], -1, nouns[:, j])
    return masks, nouns


def training_set(cache: Path, shards: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[str]]:
    """Latents (n, 16, 16, 16) float16; masks (n, 3, 16, 16) uint8 and nouns (n, 3) by thing; captions."""
    parts: list[tuple[torch.Tensor, ...]] = []
    captions: list[str] = []
    for k in range(shards):
        data = dataset(cache, SHARD, seed=seed + k)
        space = stack.pca(cache, data["images"])
        latents = torch.cat([space.encode(part).half() for part in torch.from_numpy(data["images"]).split(200)])
        parts.append((latents, *by_thing(torch.from_numpy(data["masks"]), torch.from_numpy(data["nouns"]).long())))
        captions += map(str, data["captions"])
    latents, masks, nouns = (torch.cat(column) for column in zip(*parts, strict=True))
    return latents, masks, nouns, captions


def word_tokens(captions: list[str], nouns: torch.Tensor) -> torch.Tensor:
    """Positions (n, 3, 3) of each thing's colour, noun and side, 0 where there is none; nouns (n, 3) as `by_thing` gives them."""
    positions = torch.zeros(len(captions), MOST, 3, dtype=torch.long)
    for i, caption in enumerate(captions):
        for k, (colour, noun, which) in enumerate(word_positions(caption)):
            side = side_position(caption) if k == 0 else 0
            positions[i, nouns[i].tolist().index(which)] = torch.tensor([colour, noun, side])
    return positions


def grounding_loss(
    layers: Iterable[torch.Tensor], masks: torch.Tensor, positions: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """weighted mean over layers and tokens of (1 - attention inside / attention everywhere)^2.

    layers: maps (B, pixels, tokens); masks (B, 3, 16, 16) in [0, 1]; positions (B, 3, k) token indices, 0 where there is no
    such token; weight (B, 1) or (B, k).
    """
    real = (positions > 0) * weight[:, None]
    losses = []
    for attention in layers:
        side = int(attention.shape[1] ** 0.5)
        inside = F.adaptive_avg_pool2d(masks, side).flatten(2)  # B 3 pixels
        maps = attention.gather(2, positions.flatten(1)[:, None].expand(-1, side * side, -1))
        maps = maps.transpose(1, 2).unflatten(1, (MOST, -1))  # B thing word pixels
        share = (maps * inside[:, :, None]).sum(-1) / maps.sum(-1).clamp_min(1e-8)
        losses.append(((1 - share).square() * real).sum() / real.sum().clamp_min(1))
    return torch.stack(losses).mean()


def naming_loss(
    heads: torch.nn.ModuleList, features: list[torch.Tensor], masks: torch.Tensor, nouns: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy of heads on features (B, C, h, w) against what covers each cell, averaged over the heads.

    masks (B, 3, 16, 16) in [0, 1], nouns (B, 3) with -1 for no thing.
    """
    labels = torch.zeros(len(masks), len(NOUNS) + 1, *masks.shape[2:], device=masks.device)
    for i in range(MOST):
        there = (nouns[:, i] >= 0).float()[:, None, None] * masks[:, i]
        at = nouns[:, i].clamp_min(0)[:, None, None, None].expand(-1, 1, *masks.shape[2:])
        labels.scatter_add_(1, at, there[:, None])
    labels[:, -1] = (1 - labels.sum(1)).clamp_min(0)
    losses = [
        F.cross_entropy(head(x).float(), F.adaptive_avg_pool2d(labels, x.shape[-1]))
        for head, x in zip(heads, features, strict=True)
    ]
    return torch.stack(losses).mean()


class Naming(torch.nn.Module):
    """Which noun, or none, each cell of the inner features shows: linear heads on the first two up blocks."""

    def __init__(self, unet: torch.nn.Module):
        super().__init__()
        width = unet.config.block_out_channels[-1]
        self.heads = torch.nn.ModuleList(torch.nn.Conv2d(width, len(NOUNS) + 1, 1) for _ in range(2))
        self.features: list[torch.Tensor] = []
        for block in unet.up_blocks[:2]:
            block.register_forward_hook(lambda _module, _inputs, output: self.features.append(output))

    def loss(self, masks: torch.Tensor, nouns: torch.Tensor) -> torch.Tensor:
        """`naming_loss` of the last forward's features, which are then forgotten."""
        try:
            return naming_loss(self.heads, self.features, masks, nouns)
        finally:
            self.features.clear()


def rate(step: int, spent: float, budget: float, warm: int = 100) -> float:
    """The factor on the learning rate: warm-up over `warm` steps, a plateau, a cosine over the budget's last quarter."""
    falling = min(1.0, max(0.0, (spent / budget - 0.75) / 0.25)) if math.isfinite(budget) else 0.0
    return min(1.0, (step + 1) / warm) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * falling)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=600, help="of training, over all resumptions")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--grounding", type=float, default=0.3)
    parser.add_argument("--naming", type=float, default=0.4)
    parser.add_argument("--facts", type=float, default=0.02, help="weight of the facts term")
    parser.add_argument("--related", type=float, default=2.0, help="how much more often a caption with a side is drawn")
    parser.add_argument("--noisy", type=float, default=0.3, help=f"share of the latents that are drawn from the noisiest {NOISY} of 1000 levels")
    parser.add_argument("--shards", type=int, default=10, help=f"of {SHARD} scenes each")
    parser.add_argument("--start", type=Path, help="a folder with raw.safetensors (and ema.safetensors) to start from")
    parser.add_argument("--bfloat16", action=argparse.BooleanOptionalAction, default=True, help="autocast")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    if args.start and not (args.cache / "pca.pt").exists():
        raise SystemExit(
            f"--start {args.start}: its weights belong to a latent space that {args.cache} does not have: "
            "run training.checkpoints restore first"
        )

    latents, masks, nouns, captions = training_set(args.cache, args.shards, args.seed)
    tok = stack.tokenizer()
    window = dict(padding="max_length", max_length=stack.WINDOW, return_tensors="pt")
    ids, empty = tok(captions, **window).input_ids, tok("", **window).input_ids[0]
    positions = word_tokens(captions, nouns)
    said = torch.tensor([facts(caption) for caption in captions])
    sided = said[:, -len(NOUNS) * len(OPPOSITE) :].amax(1)
    often = 1 + (args.related - 1) * sided

    unet = stack.denoiser().to(args.device, memory_format=torch.channels_last)
    text = stack.text_encoder(tok).to(args.device)
    naming = Naming(unet).to(args.device)
    head = torch.nn.Linear(text.config.hidden_size, said.shape[1]).to(args.device)
    model = torch.nn.ModuleDict({"unet": unet, "text": text, "naming": naming, "facts": head})
    if args.start:
        model.load_state_dict({k: v.float() for k, v in load_file(args.start / "raw.safetensors").items()})
    ema = copy.deepcopy(model).requires_grad_(False)
    if args.start and (args.start / "ema.safetensors").exists():
        ema.load_state_dict({k: v.float() for k, v in load_file(args.start / "ema.safetensors").items()})
    optimiser = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    abar = stack.scheduler().alphas_cumprod.to(args.device)
    checkpoint, plateau = args.cache / "denoiser.pt", args.cache / "denoiser-plateau.pt"
    step, spent, fresh = resume(checkpoint, model, ema, optimiser, args.device)
    budget, before, began = 60 * args.minutes, spent, time.time()
    running = torch.zeros(4)
    with AttentionTaps(cross_attentions(unet)) as taps:
        while spent < budget:
            generator = torch.Generator().manual_seed(args.seed * 1_000_003 + step)
            pick = torch.multinomial(often, args.batch, replacement=True, generator=generator)
            z0 = latents[pick].float().to(args.device)
            inside = masks[pick].float().to(args.device) / 255
            dropped = torch.rand(args.batch, generator=generator) < 0.1
            tokens = torch.where(dropped[:, None], empty, ids[pick]).to(args.device)
            noisier = torch.rand(args.batch, generator=generator) < args.noisy
            t = torch.randint(0, 1000, (args.batch,), generator=generator)
            t = torch.where(noisier, 1000 - NOISY + t * NOISY // 1000, t).to(args.device)
            noise = torch.randn(z0.shape, generator=generator).to(args.device)
            a = abar[t][:, None, None, None]
            zt = (a.sqrt() * z0 + (1 - a).sqrt() * noise).contiguous(memory_format=torch.channels_last)
            target = a.sqrt() * noise - (1 - a).sqrt() * z0
            taps.clear()
            with torch.autocast(args.device.split(":")[0], torch.bfloat16, enabled=args.bfloat16):
                words = text(tokens)
                v = unet(zt, t, words.last_hidden_state).sample.float()
                told = fact_loss(head(words.pooler_output).float(), said[pick].to(args.device))
                told = (told * ~dropped.to(args.device)).mean()
                counted = ~dropped.to(args.device) * (1 + 5 * (t >= 1000 - NOISY))
                ground = grounding_loss(taps.layers().values(), inside, positions[pick].to(args.device), counted[:, None])
                name = naming.loss(inside, nouns[pick].to(args.device))
            snr = (a / (1 - a)).flatten()
            # min-SNR's weight, with a floor: what an object is gets decided where the noise is strong.
            weight = (snr.clamp(max=5) / (snr + 1)).clamp_min(0.6)
            denoising = ((v - target).square().mean((1, 2, 3)) * weight).mean()
            factor = rate(step - fresh, spent, budget)
            for group in optimiser.param_groups:
                group["lr"] = args.lr * factor
            optimiser.zero_grad()
            (denoising + args.grounding * min(1, step / 200) * ground + args.naming * name + args.facts * told).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            step += 1
            average(ema, model, step)
            was, spent = spent, before + time.time() - began
            running += torch.tensor([denoising.item(), ground.item(), name.item(), told.item()])
            if step % 50 == 0:
                print(
                    f"step {step} loss {running[0] / 50:.4f} grounding {running[1] / 50:.4f} "
                    f"naming {running[2] / 50:.4f} facts {running[3] / 50:.4f} lr {args.lr * factor:.1e} {spent:.0f} s",
                    flush=True,
                )
                running.zero_()
            if was < 0.75 * budget <= spent:
                keep(plateau, model, ema, optimiser, step, spent)
            if step % 200 == 0:
                keep(checkpoint, model, ema, optimiser, step, spent)
    keep(checkpoint, model, ema, optimiser, step, spent)


if __name__ == "__main__":
    main()
