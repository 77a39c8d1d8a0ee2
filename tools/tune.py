"""Try settings on the tune split, which the benchmarks never use.

    python -m tools.tune [--prompts 24] --set eta=0.2 max_recurrences=2 --set gradient=straight-through ...

Each `--set` is one line: values of `Config` (JSON, or a word), and `preset=`, `reward=` ("none") and `tiny=true`.
"""

from __future__ import annotations

import argparse
import json
from statistics import fmean
from typing import Any

import torch

from dymo import DyMO, load_miniature
from dymo.miniature import load_tiny_decoder
from dymo.miniature.world import captions

from .arm import Bench


def value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--things", type=int, choices=(2, 3), help="in each prompt; otherwise of both kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=1, help="images a prompt")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--guidance-scale", type=float)
    parser.add_argument("--set", nargs="*", action="append", default=[], dest="settings")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    bench, chosen = Bench(load_miniature()), captions("tune", args.prompts, things=args.things)
    call = {} if args.guidance_scale is None else {"guidance_scale": args.guidance_scale}
    for line in args.settings:
        settings = {key: value(text) for key, _, text in (item.partition("=") for item in line)}
        if settings.pop("unguided", False):
            aligner = None
        else:
            reward = settings.pop("reward", "mini-pickscore")
            preview = load_tiny_decoder() if settings.pop("tiny", False) else None
            aligner = DyMO(None if reward == "none" else reward, preview_vae=preview, **settings)
        arm = bench.run(" ".join(line), chosen, args.seed, aligner, args.seeds, **call)
        scores = "  ".join(f"{name} {fmean(s):7.3f}" for name, s in arm.scores.items())
        cost = f"nfe {fmean(arm.evaluations):5.1f}  {fmean(arm.seconds):5.2f} s"
        print(
            f"judge {100 * fmean(arm.correct):5.1f} %  {scores}  {cost}  {arm.failures or ''}  {arm.name}", flush=True
        )


if __name__ == "__main__":
    main()
