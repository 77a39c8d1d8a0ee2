"""Keep in half precision what going on with the recipes needs and the package does not have, and give it back to a cache.

    python -m training.checkpoints save [--into training/checkpoints] [--cache .cache]
    python -m training.checkpoints restore

`save` writes the latent space, the classifier, and the denoiser's raw weights from before the learning rate came down.
`restore` puts the first two where the recipes look for them; go on with
`python -m training.denoiser --start training/checkpoints/denoiser`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

PARTS = ("classifier",)
"""Checkpoints of `fit.fit`."""


def halved(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in state.items()}


def widened(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


def load(path: Path) -> dict:
    return torch.load(path, weights_only=True, map_location="cpu")


def save(cache: Path, into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    steps = {}
    save_file({k: v.contiguous() for k, v in load(cache / "pca.pt").items()}, into / "pca.safetensors")
    for name in PARTS:
        if (cache / f"{name}.pt").exists():
            saved = load(cache / f"{name}.pt")
            save_file(halved(saved["model"]), into / f"{name}.safetensors")
            steps[name] = saved["step"]
    if (cache / "denoiser.pt").exists():
        (into / "denoiser").mkdir(exist_ok=True)
        last = load(cache / "denoiser.pt")
        plateau = load(cache / "denoiser-plateau.pt") if (cache / "denoiser-plateau.pt").exists() else last
        save_file(halved(plateau["model"]), into / "denoiser" / "raw.safetensors")
        steps["denoiser"] = plateau["step"]
    (into / "steps.json").write_text(json.dumps(steps, indent=2, sort_keys=True) + "\n")
    size = sum(f.stat().st_size for f in into.rglob("*") if f.is_file())
    print(f"{into}: {', '.join(steps)}; {size / 1e6:.1f} MB")


def restore(cache: Path, from_: Path) -> None:
    """Raises FileExistsError rather than replace a checkpoint."""
    cache.mkdir(parents=True, exist_ok=True)
    steps = json.loads((from_ / "steps.json").read_text())
    made = {"pca": load_file(from_ / "pca.safetensors")}
    for name in PARTS:
        if (from_ / f"{name}.safetensors").exists():
            state = widened(load_file(from_ / f"{name}.safetensors"))
            made[name] = {"model": state, "optimiser": None, "step": steps[name]}
    there = [name for name in made if (cache / f"{name}.pt").exists()]
    if there:
        raise FileExistsError(
            f"{cache} has {', '.join(f'{name}.pt' for name in there)} already: choose another --cache"
        )
    for name, state in made.items():
        torch.save(state, cache / f"{name}.pt")
    print(f"{cache}: {', '.join(made)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("save", "restore"))
    parser.add_argument(
        "--into", type=Path, default=Path("training/checkpoints"), help="the folder of the kept weights"
    )
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    args = parser.parse_args()
    (save if args.what == "save" else restore)(args.cache, args.into)


if __name__ == "__main__":
    main()
