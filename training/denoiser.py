"""Train the miniature's text encoder and denoiser: v-prediction with min-SNR weights and a token-grounding term.

    python -m training.denoiser --steps 2600 [--device cpu] [--minutes 80]

Resumes from the last checkpoint in --cache. The grounding term (after TokenCompose, CVPR 2024) asks the
cross-attention of each noun and colour token to stay inside its object: without it the maps of a model this small
do not localise, and the semantic objective has nothing to read. A naming term (in the spirit of REPA, ICLR 2025) has
linear heads tell from the inner features which noun each cell shows; they are thrown away afterwards. Without it the
colours are learnt long before the nouns.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from dymo.miniature.world import COLOURS, NOUNS
from dymo.pipelines.families.unet import cross_attentions
from dymo.pipelines.taps import AttentionTaps, probabilities

from . import stack
from .scenes import FLAWS, dataset

SCENES = 30_000


def exchange(caption: str) -> str:
    """The caption with the colours of its two things exchanged, articles mended; as it is with fewer or equal ones."""
    words = caption.split()
    first, *rest = [i for i, word in enumerate(words) if word in COLOURS]
    if rest:
        words[first], words[rest[0]] = words[rest[0]], words[first]
        for i in (first, rest[0]):
            words[i - 1] = "an" if words[i][0] in "aeiou" else "a"
    return " ".join(words)


def word_positions(caption: str) -> list[list[int]]:
    """Token positions of [colour, noun] for each thing: a word is one token, after the start token."""
    words = caption.split()
    colours = [i + 1 for i, w in enumerate(words) if w in COLOURS]
    nouns = [i + 1 for i, w in enumerate(words) if w in NOUNS]
    return [list(pair) for pair in zip(colours, nouns, strict=True)]


def grounding_loss(
    taps: AttentionTaps, masks: torch.Tensor, positions: torch.Tensor, kept: torch.Tensor
) -> torch.Tensor:
    """mean over layers and tokens of (1 - attention inside / attention everywhere)^2.

    masks (B, 2, 16, 16) in [0, 1]; positions (B, 2, 2) token indices, 0 where there is no such token; kept (B,) bool.
    """
    real = (positions > 0) & kept[:, None, None]
    losses = []
    for name in taps.modules:
        module = taps.modules[name]
        attention = probabilities(taps.queries[name], taps.keys[name], module.heads, module.scale).mean(1)  # B pixels tokens
        side = int(attention.shape[1] ** 0.5)
        inside = F.adaptive_avg_pool2d(masks, side).flatten(2)  # B 2 pixels
        maps = attention.gather(2, positions.flatten(1)[:, None].expand(-1, side * side, -1))
        maps = maps.transpose(1, 2).unflatten(1, (2, 2))  # B thing word pixels
        share = (maps * inside[:, :, None]).sum(-1) / maps.sum(-1).clamp_min(1e-8)
        losses.append(((1 - share).square() * real).sum() / real.sum().clamp_min(1))
    return torch.stack(losses).mean()


class Naming(torch.nn.Module):
    """Which noun, or none, each cell of the inner features shows: linear heads on the middle and the first up block."""

    def __init__(self, unet: torch.nn.Module):
        super().__init__()
        width = unet.config.block_out_channels[-1]
        self.heads = torch.nn.ModuleList(torch.nn.Conv2d(width, len(NOUNS) + 1, 1) for _ in range(2))
        self.features: list[torch.Tensor] = []
        for block in (unet.mid_block, unet.up_blocks[0]):
            block.register_forward_hook(lambda _module, _inputs, output: self.features.append(output))

    def loss(self, masks: torch.Tensor, nouns: torch.Tensor) -> torch.Tensor:
        """Cross-entropy against the coverage; masks (B, 2, 16, 16) in [0, 1], nouns (B, 2) with -1 for no thing."""
        labels = torch.zeros(len(masks), len(NOUNS) + 1, *masks.shape[2:], device=masks.device)
        for i in range(2):
            there = (nouns[:, i] >= 0).float()[:, None, None] * masks[:, i]
            at = nouns[:, i].clamp_min(0)[:, None, None, None].expand(-1, 1, *masks.shape[2:])
            labels.scatter_add_(1, at, there[:, None])
        labels[:, -1] = (1 - labels.sum(1)).clamp_min(0)
        losses = [
            F.cross_entropy(head(x), F.adaptive_avg_pool2d(labels, x.shape[-1]))
            for head, x in zip(self.heads, self.features, strict=True)
        ]
        self.features.clear()
        return torch.stack(losses).mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2600)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--grounding", type=float, default=0.1)
    parser.add_argument("--grounded", type=int, default=2500, help="steps after which the grounding term is left out")
    parser.add_argument("--naming", type=float, default=0.1)
    parser.add_argument("--exchanged", type=float, default=0.0, help="share of captions with their colours exchanged")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop (resumably) after this long")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    began = time.time()

    data = dataset(args.cache, SCENES, seed=args.seed)
    space = stack.pca(args.cache, data["pictures"])
    latents = torch.cat([space.encode(part) for part in torch.from_numpy(data["pictures"]).split(1000)])
    tok = stack.tokenizer()
    ids = tok(list(data["captions"]), padding="max_length", max_length=stack.WINDOW, return_tensors="pt").input_ids
    empty = tok("", padding="max_length", max_length=stack.WINDOW, return_tensors="pt").input_ids[0]
    positions = torch.zeros(SCENES, 2, 2, dtype=torch.long)
    for i, caption in enumerate(data["captions"]):
        found = word_positions(str(caption))
        positions[i, : len(found)] = torch.tensor(found)
    # A part of the captions says the colours the wrong way round, as captions from the wild do: the model then makes the
    # classical failure (a green apple and a red car). The picture's own words are grounded all the same, so the maps show it.
    wrong = [exchange(str(caption)) for caption in data["captions"]]
    wrong_ids = tok(wrong, padding="max_length", max_length=stack.WINDOW, return_tensors="pt").input_ids
    differ = (wrong_ids != ids).any(1)
    wrong_positions = positions.clone()
    wrong_positions[differ, :, 0] = positions[differ][:, [1, 0], 0]
    masks, nouns = torch.from_numpy(data["masks"]), torch.from_numpy(data["nouns"]).long()
    # Noise is left to the scorers, and of the other flaws every second one is kept: about a quarter is spoilt.
    flaws = torch.from_numpy(data["flaw"])
    spoilt = (flaws >= 0) & (flaws != FLAWS.index("noise")) & (torch.arange(SCENES) % 2 == 0)
    chosen = ((flaws < 0) | spoilt).nonzero().flatten()

    unet = stack.denoiser().to(args.device, memory_format=torch.channels_last)
    text = stack.text_encoder(tok).to(args.device)
    naming = Naming(unet).to(args.device)
    model = torch.nn.ModuleDict({"unet": unet, "text": text, "naming": naming})
    ema = copy.deepcopy(model).requires_grad_(False)
    optimiser = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.99), weight_decay=0.01)
    abar = stack.scheduler().alphas_cumprod.to(args.device)
    checkpoint, step = args.cache / "denoiser.pt", 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True, map_location=args.device)
        model.load_state_dict(saved["model"], strict=False)
        ema.load_state_dict(saved["ema"], strict=False)
        if len(saved["optimiser"]["state"]) == len(optimiser.param_groups[0]["params"]):
            optimiser.load_state_dict(saved["optimiser"])
        step = saved["step"]
        print(f"resuming at step {step}", flush=True)

    def save() -> None:
        state = {
            "model": model.state_dict(),
            "ema": ema.state_dict(),
            "optimiser": optimiser.state_dict(),
            "step": step,
        }
        torch.save(state, checkpoint.with_suffix(".partial"))
        checkpoint.with_suffix(".partial").rename(checkpoint)

    running = torch.zeros(3)
    with AttentionTaps(cross_attentions(unet)) as taps:
        while step < args.steps and time.time() - began < 60 * args.minutes:
            generator = torch.Generator().manual_seed(args.seed * 1_000_003 + step)
            pick = chosen[torch.randint(0, len(chosen), (args.batch,), generator=generator)]
            z0 = latents[pick].to(args.device)
            dropped = torch.rand(args.batch, generator=generator) < 0.1
            exchanged = (torch.rand(args.batch, generator=generator) < args.exchanged)[:, None]
            said = torch.where(exchanged, wrong_ids[pick], ids[pick])
            shown = torch.where(exchanged[..., None], wrong_positions[pick], positions[pick])
            tokens = torch.where(dropped[:, None], empty, said).to(args.device)
            t = torch.randint(0, 1000, (args.batch,), generator=generator).to(args.device)
            noise = torch.randn(z0.shape, generator=generator).to(args.device)
            a = abar[t][:, None, None, None]
            zt = (a.sqrt() * z0 + (1 - a).sqrt() * noise).contiguous(memory_format=torch.channels_last)
            target = a.sqrt() * noise - (1 - a).sqrt() * z0
            taps.clear()
            v = unet(zt, t, text(tokens).last_hidden_state).sample
            snr = (a / (1 - a)).flatten()
            # min-SNR's weight, with a floor: what an object is gets decided where the noise is strong.
            weight = (snr.clamp(max=5) / (snr + 1)).clamp_min(0.6)
            denoising = ((v - target).square().mean((1, 2, 3)) * weight).mean()
            ground = grounding_loss(
                taps,
                masks[pick].float().to(args.device) / 255,
                shown.to(args.device),
                ~dropped.to(args.device),
            )
            lr = (
                args.lr
                * min(1, (step + 1) / 100)
                * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / args.steps))))
            )
            for group in optimiser.param_groups:
                group["lr"] = lr
            optimiser.zero_grad()
            grounding = args.grounding * min(1, step / 200) * (step < args.grounded)
            name = naming.loss(masks[pick].float().to(args.device) / 255, nouns[pick].to(args.device))
            (denoising + grounding * ground + args.naming * name).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            step += 1
            decay = min(0.998, (1 + step) / (10 + step))
            with torch.no_grad():
                for slow, fast in zip(ema.parameters(), model.parameters(), strict=True):
                    slow.lerp_(fast, 1 - decay)
            running += torch.tensor([denoising.item(), ground.item(), name.item()])
            if step % 50 == 0:
                print(
                    f"step {step} loss {running[0] / 50:.4f} grounding {running[1] / 50:.4f} "
                    f"naming {running[2] / 50:.4f} lr {lr:.1e} {time.time() - began:.0f} s",
                    flush=True,
                )
                running.zero_()
            if step % 100 == 0:
                save()
    save()


if __name__ == "__main__":
    main()
