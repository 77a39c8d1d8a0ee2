"""Write the model card of the miniature's weights from the recipes' own figures and log.

python -m training.card [--weights src/dymo/miniature/weights]
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import torch

from dymo.miniature.world import COLOURS, NOUNS, RELATIONS, held_out
from dymo.report.atomic import write_text

HEAD = """\
---
license: apache-2.0
tags: [text-to-image, diffusers, miniature]
---
# The miniature

A small, trained copy of the stack that DyMO was made for, so that everything runs, and can be judged, without a
download: a `StableDiffusionPipeline` (128x128 images, latents of 16x16x16, v-prediction), its student of one to eight steps
(`turbo/`), a `StableDiffusion3Pipeline` on the same latents (`flow/`), a distilled `AutoencoderTiny`,
five scorers (`mini-pickscore` guides; `mini-hps`, of another architecture and seed, never does; `mini-imagereward`,
`mini-aesthetic` and `mini-step-aware` mirror those published models), a judge that reads things, colours, counts and
places from pixels, and four LoRAs on the denoiser (`lora/`: AlignProp, Diffusion-DPO, Diffusion-KTO, SPO), the trained systems of
`dymo bench`.

## Data

Scenes of one to three recoloured flat emoji on soft backgrounds, composed by `training/scenes.py`, which knows their caption,
masks and flaws. {nouns} nouns ({noun_list}), {colours} colours ({colour_list}), the relations {relations}, and "and".
One colour of each noun never occurs in training: {held}. Captions are split by their pairs of things into train,
tune and test. Of the denoiser's images a tenth is spoilt (blur, dull colours, bad framing), of the readers' half (noise
too).

Licence notices: the emoji are Microsoft's Fluent Emoji (MIT), from the npm package `@lobehub/fluent-emoji-flat` 1.1.0
(MIT); see NOTICE. The weights are under Apache-2.0, like the code. They are a test bench: they can generate nothing but
this world.

## Figures

Measured by the recipes on fresh scenes (`training/figures.json`); what the pipeline itself reaches is measured by
`python -m tools.quality` and `python -m tools.pointing`.

{figures}

## Sizes

{sizes}

## The few-step student and the flow transformer

Both were trained on one H200 (`--device cuda`) in 15 minutes together: `turbo` for 2,258 steps of batch 128, `flow` for 2,664 of batch
192 with the alignment term on 60,000 scenes, then 2,142 of batch 1,024 without it on 60,000 others, both without the grounding term. At its
end the flow kept 88 to 91 % of the hard prompts, which leaves guidance nothing to mend, and the words' maps did not lie on their things. From
0.4 of the weights after the first part and 0.6 of those at the end it was trained on, on a CPU, with batch 32 at a learning rate of 4e-4:
1,600 steps with `--grounding 0.5`, then 1,922 with `--mistold 0.4` too, the rate coming down over the last 1,070. With `--mistold 0.4`, 30 % of
the captions say something else than their images (the others cannot be made wrong within the train split), as those of the web do, so that
the denoiser errs by what the words say (exchanged colours, things left out) and not by how it draws. What it keeps unguided, and what guidance
mends, is measured by `python -m tools.flow`.

## Training log of the denoiser

{steps} of batch 32 on one thread of a CPU, bfloat16 autocast, begun from 11,300 steps of a UNet without the level of 4x4 cells. At step
2,200 the noise was made stronger (beta_end .012 to .02): the losses before and after do not compare. The learning rate came down at
the end, and the weights are an exponential moving average.

```
{log}
```
"""


def rows(figures: dict, prefix: str = "") -> list[str]:
    found = []
    for key, value in figures.items():
        name = f"{prefix}{key}"
        found += rows(value, f"{name} / ") if isinstance(value, dict) else [f"| {name} | {value} |"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=Path("src/dymo/miniature/weights"))
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    args = parser.parse_args()
    figures = json.loads(Path("training/figures.json").read_text())
    lines = [line for line in (args.cache / "denoiser.log").read_text().splitlines() if line.startswith("step ")]
    reached = torch.load(args.cache / "denoiser.pt", weights_only=True, map_location="cpu")["step"]
    last: dict[int, str] = {int(re.findall(r"\d+", line)[0]): re.sub(r" \d+ s$", "", line) for line in lines}
    last = {step: line for step, line in last.items() if step <= reached}
    marks = [step for step in sorted(last) if step % 400 == 0 or step == max(last)]
    sizes = [(p.relative_to(args.weights), p.stat().st_size / 1e6) for p in sorted(args.weights.rglob("*.safetensors"))]
    table = ["| figure | value |", "|---|---|", *rows(figures)]
    weights = ["| file | MB |", "|---|---|", *(f"| {name} | {size:.2f} |" for name, size in sizes)]
    weights.append(f"| together | {sum(size for _, size in sizes):.2f} |")
    held = ", ".join(f"{colour} {noun}" for noun in NOUNS for colour in COLOURS if held_out(noun, colour))
    card = HEAD.format(
        nouns=len(NOUNS), noun_list=", ".join(NOUNS), colours=len(COLOURS), colour_list=", ".join(COLOURS),
        relations=", ".join(f'"{r}"' for r in RELATIONS), held=held, figures="\n".join(table), sizes="\n".join(weights),
        steps=f"{max(last)} steps", log="\n".join(last[step] for step in marks),
    )  # fmt: skip
    write_text(args.weights / "README.md", card)


if __name__ == "__main__":
    main()
