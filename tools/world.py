"""Whether the miniature's parts are as good as they are meant to be, measured on the weights in the package and on fresh real scenes.

    python -m tools.world [--n 96] [--cache .cache]

The decoder's sharpness; what the judge reads from real and from spoilt scenes, and whether it takes exchanged colours and places;
whether mini-imagereward tells nouns and colours apart; and which nouns a classifier, trained on real scenes alone, names in images
that the pipeline generates unguided. Needs the emoji of the training recipes (npm; --cache keeps them), and the weights in
`training/checkpoints`. What it finds goes into `training/figures.json` too, from which the model card is made. Exit status 1 where a
limit does not hold. The attention maps are measured by `tools.pointing`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from dymo import load_miniature, load_reward
from dymo.miniature import MINIATURE_DEFAULTS, load_judge
from dymo.miniature.world import NOUNS, Caption, captions
from training import autoencoder, judge, scorers
from training.classifier import Classifier, named
from training.fit import FIGURES
from training.measure import single
from training.stack import PatchPCA

CHECKPOINTS = Path("training/checkpoints")


def things_named(pipe, namer: Classifier, wanted: list[Caption]) -> float:
    """The share of the captions' nouns that the classifier finds in an unguided image of each."""
    hits = []
    for start in range(0, len(wanted), 16):
        some = wanted[start : start + 16]
        seeds = [torch.Generator().manual_seed(start + i) for i in range(len(some))]
        images = pipe([c.text for c in some], generator=seeds, output_type="pt", **MINIATURE_DEFAULTS).images
        nouns = torch.tensor([[NOUNS.index(t.noun) for t in c.things] + [-1] * (3 - len(c.things)) for c in some])
        with torch.no_grad():
            hits.append(named(namer(images), nouns))
    return float(torch.cat(hits).nanmean())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=96, help="images of one thing, and of two")
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    args.device = "cpu"
    pipe, reward = load_miniature(), load_reward("mini-imagereward")
    pipe.set_progress_bar_config(disable=True)
    space = PatchPCA(**{name: value.float() for name, value in load_file(CHECKPOINTS / "pca.safetensors").items()})
    namer = Classifier().eval()
    kept = {name: value.float() for name, value in load_file(CHECKPOINTS / "classifier.safetensors").items()}
    namer.load_state_dict(kept)
    with torch.no_grad():
        autoencoder.report("autoencoder", pipe.vae, space, args)
        judge.report(load_judge(), space, args)
        scorers.accuracy("mini_imagereward", lambda shown, texts: reward.score(shown, texts).numpy(), args)
    found = json.loads(FIGURES.read_text())
    sharp, read, told = found["autoencoder"], found["judge"], found["mini_imagereward"]
    exchanged = max(read[name][f"exchanged_{what}_accepted"] for name in ("clean", "spoilt") for what in ("colours", "places"))
    one, two = (things_named(pipe, namer, wanted) for wanted in (single(args.n), captions("tune", args.n, things=2)))
    claims = [
        (f"PSNR of the decoder {sharp['psnr']:.1f}, at least 30", sharp["psnr"] >= 30),
        (f"its high-frequency energy {sharp['high_frequencies']:.2f} of the real scenes', within 15 %", abs(sharp["high_frequencies"] - 1) <= 0.15),
        (f"judge on real scenes {100 * read['clean']['correct']:.1f} %, at least 99", read["clean"]["correct"] >= 0.99),
        (f"judge on spoilt scenes {100 * read['spoilt']['correct']:.1f} %, at least 93", read["spoilt"]["correct"] >= 0.93),
        (f"exchanged colours or places accepted in {100 * exchanged:.1f} %, at most 1", exchanged <= 0.01),
        (f"mini-imagereward, nouns {100 * told['object']:.1f} %, at least 80", told["object"] >= 0.8),
        (f"mini-imagereward, colours {100 * told['colour']:.1f} %, at least 80", told["colour"] >= 0.8),
        (f"nouns named in images of one thing {100 * one:.1f} %, at least 90", one >= 0.9),
        (f"nouns named in images of two things {100 * two:.1f} %, at least 80", two >= 0.8),
    ]  # fmt: skip
    print(*(f"- {'yes' if holds else 'NO'}: {claim}" for claim, holds in claims), sep="\n")
    return 0 if all(holds for _, holds in claims) else 1


if __name__ == "__main__":
    sys.exit(main())
