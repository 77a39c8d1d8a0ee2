"""What the smaller recipes share: their arguments, one resumable training loop, and the file of figures."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

FIGURES = Path(__file__).with_name("figures.json")


def arguments(description: str | None, parts: tuple[str, ...] = ()) -> argparse.ArgumentParser:
    """The options that every recipe has; `parts` are the models one recipe can train, all of them by default."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if parts:
        parser.add_argument("--part", choices=parts, nargs="+", default=parts, help="train only these")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop (resumably) after this long, a part")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    return parser


def begin(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    torch.set_float32_matmul_precision("high")  # TF32 where there is such a thing
    torch.manual_seed(args.seed)


def fit(
    name: str,
    model: nn.Module,
    losses: Callable[[torch.Generator, int], dict[str, torch.Tensor]],
    args: argparse.Namespace,
    *,
    steps: int,
    lr: float,
    weight_decay: float = 0.01,
    every: int = 50,
) -> bool:
    """Minimise the sum of `losses(generator, step)`; AdamW, warm-up, cosine; resumes from `args.cache/name.pt`.

    The generator is seeded by the step, so a resumed run draws what an uninterrupted one would. Returns whether it
    reached `steps`.
    """
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=weight_decay)
    checkpoint, step, began, running = args.cache / f"{name}.pt", 0, time.time(), {}
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True, map_location=args.device)
        model.load_state_dict(saved["model"])
        if saved["optimiser"]:  # weights that were kept in half precision come without one
            optimiser.load_state_dict(saved["optimiser"])
        step = saved["step"]
        print(f"{name}: resuming at step {step}", flush=True)

    def save() -> None:
        partial = checkpoint.with_suffix(".partial")
        torch.save({"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step}, partial)
        partial.rename(checkpoint)

    model.train()
    while step < steps and time.time() - began < 60 * args.minutes:
        for group in optimiser.param_groups:
            group["lr"] = lr * min(1, (step + 1) / 50) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        terms = losses(torch.Generator().manual_seed(args.seed * 1_000_003 + step), step)
        optimiser.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step += 1
        for key, value in terms.items():
            running[key] = running.get(key, 0.0) + value.item() / every
        if step % every == 0:
            shown = " ".join(f"{key} {value:.4f}" for key, value in running.items())
            print(f"{name}: step {step} {shown} {time.time() - began:.0f} s", flush=True)
            running = {}
        if step % (2 * every) == 0:
            save()
    save()
    model.eval()
    return step >= steps


def resume(
    checkpoint: Path, model: nn.Module, ema: nn.Module, optimiser: torch.optim.Optimizer, device: str
) -> tuple[int, float, int]:
    """Load what `keep` wrote, where it did: the step, the seconds spent, and the step since which the optimiser is new."""
    if not checkpoint.exists():
        return 0, 0.0, 0
    saved = torch.load(checkpoint, weights_only=True, map_location=device)
    model.load_state_dict(saved["model"]), ema.load_state_dict(saved["ema"])
    if saved["optimiser"]:
        optimiser.load_state_dict(saved["optimiser"])
    print(f"{checkpoint.stem}: resuming at step {saved['step']}, {saved['spent']:.0f} s", flush=True)
    return saved["step"], saved["spent"], 0 if saved["optimiser"] else saved["step"]


@torch.no_grad()
def average(ema: nn.Module, model: nn.Module, step: int) -> None:
    """Bring the exponential moving average up to `model` after `step` steps: slow, but for the first few hundred."""
    torch._foreach_lerp_(list(ema.parameters()), list(model.parameters()), 1 - min(0.998, (1 + step) / (10 + step)))


def keep(checkpoint: Path, model: nn.Module, ema: nn.Module, optimiser: torch.optim.Optimizer, step: int, spent: float) -> None:
    """Write the checkpoint, whole or not at all."""
    state = {"model": model.state_dict(), "ema": ema.state_dict(), "optimiser": optimiser.state_dict()}
    torch.save(state | {"step": step, "spent": spent}, checkpoint.with_suffix(".partial"))
    checkpoint.with_suffix(".partial").rename(checkpoint)


def trained(name: str, model: nn.Module, cache: Path) -> nn.Module:
    """`model` with the weights of the checkpoint `name`, for inference."""
    model.load_state_dict(torch.load(cache / f"{name}.pt", weights_only=True, map_location="cpu")["model"])
    return model.eval().requires_grad_(False)


def part(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The entries of `state` under `prefix`, without it."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def of_pair(name: str, key: str, model: nn.Module, cache: Path) -> nn.Module:
    """`model` from a scorer's checkpoint, whose auxiliary head is left behind."""
    saved = torch.load(cache / f"{name}.pt", weights_only=True, map_location="cpu")["model"]
    model.load_state_dict(part(saved, f"{key}."))
    return model.eval()


def record(**figures: object) -> None:
    """Merge `figures` into training/figures.json, from which the model card is written."""
    known = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    FIGURES.write_text(json.dumps(known | figures, indent=2, sort_keys=True) + "\n")
    print(json.dumps(figures), flush=True)
