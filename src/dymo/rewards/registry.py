"""The rewards that have a name: what each is, and how it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from .base import Reward

Source = str | Path
Settings = dict[str, Any]
Loader = Callable[["Spec", Source, "torch.dtype | None", Settings], Reward]
Guides = Literal["yes", "with another", "measure only"]


@dataclass(frozen=True)
class Spec:
    """One row of `dymo rewards list`."""

    name: str
    measures: str
    typical: tuple[float, float]
    """Where scores of ordinary pictures lie."""
    licence: str
    millions: float
    """Parameters, those of the prompt's tower included."""
    scale: float
    """Points that one unit in a sum of rewards is worth: about the spread among pictures of one prompt."""
    load: Loader
    source: str = ""
    """The hub id it comes from; "" for what lies in the package."""
    file: str = ""
    """The weight file there."""
    reads_timestep: bool = False
    guides: Guides = "yes"
    """ "with another": it does not read the prompt; "measure only": its gradient finds other things than it measures."""
    about: str = ""
    """What else a user should know, in a line."""


def _clip(spec: Spec, source: Source, dtype: torch.dtype | None, settings: Settings) -> Reward:
    from .clip import VIT_H_TOKENIZER, load_clip

    # The tokenizer lies beside the weights in some copies, not in the hub's own.
    words = VIT_H_TOKENIZER if spec.name == "pickscore" else source
    return load_clip(source, spec.name, words, dtype, scale=spec.scale, **settings)


def _clip_score(spec: Spec, source: Source, dtype: torch.dtype | None, settings: Settings) -> Reward:
    from .clip import load_clip
    from .preprocess import shortest_side_crop

    def prepare(images: torch.Tensor, size: int) -> torch.Tensor:
        return shortest_side_crop(images, size, "round")

    return load_clip(source, spec.name, None, dtype, scale=spec.scale, points=1.0, prepare=prepare, **settings)


def _hps(spec: Spec, source: Source, dtype: torch.dtype | None, settings: Settings) -> Reward:
    from .clip import load_hps

    return load_hps(source, spec.file, spec.name, dtype, scale=spec.scale, **settings)


def _step_aware(spec: Spec, source: Source, dtype: torch.dtype | None, settings: Settings) -> Reward:
    from .step_aware import load_step_aware

    return load_step_aware(source, spec.file, spec.name, dtype, scale=spec.scale, **settings)


def _image_reward(spec: Spec, source: Source, dtype: torch.dtype | None, settings: Settings) -> Reward:
    from .image_reward import load_image_reward

    return load_image_reward(source, spec.name, dtype, scale=spec.scale, **settings)


def _aesthetic(spec: Spec, source: Source, dtype: torch.dtype | None, settings: Settings) -> Reward:
    from .aesthetic import load_aesthetic

    return load_aesthetic(source, spec.name, dtype, scale=spec.scale, **settings)


def _conv(spec: Spec, source: Source, dtype: torch.dtype | None, settings: Settings) -> Reward:
    from ..miniature.preference import ConvPreference

    reward = ConvPreference.from_pretrained(source).to(dtype)  # too small for checkpointing to matter
    reward.scale = spec.scale
    return reward


_SPM = "SPO-Diffusion-Models/Step-Aware_Preference_Models"
_HPS = "xswu/HPSv2"

_ALL = (
    Spec(
        "pickscore", "which picture users of Pick-a-Pic preferred for the prompt", (18, 25), "MIT (code; none said of the weights)",
        986.1, 1.0, _clip, "yuvalkirstain/PickScore_v1", "model.safetensors",
    ),
    Spec(
        "step-aware-sd15", "the same preference on SD1.5's noisy one-step predictions", (18, 25), "Apache-2.0",
        1306.2, 1.0, _step_aware, _SPM, "sd-v1-5_step-aware_preference_model.bin", reads_timestep=True,
        about="the paper's own guide",
    ),
    Spec(
        "step-aware-sdxl", "the same preference on SDXL's noisy one-step predictions", (18, 25), "Apache-2.0",
        1306.2, 1.0, _step_aware, _SPM, "sdxl_step-aware_preference_model.bin", reads_timestep=True,
        about="the paper's own guide",
    ),
    Spec(
        "hpsv2", "which picture people preferred for the prompt, HPD v2", (0.25, 0.29), "Apache-2.0",
        986.1, 0.01, _hps, _HPS, "HPS_v2_compressed.pt", about="never compare with hpsv2.1",
    ),
    Spec(
        "hpsv2.1", "the same, trained on better data", (0.20, 0.34), "Apache-2.0",
        986.1, 0.03, _hps, _HPS, "HPS_v2.1_compressed.pt", about="never compare with hpsv2",
    ),
    Spec(
        "imagereward", "how experts rate faithfulness and quality", (-2.3, 2.0), "Apache-2.0",
        446.2, 1.0, _image_reward, "THUDM/ImageReward", "ImageReward.pt", about="one unit is one standard deviation",
    ),
    Spec(
        "aesthetic", "how much people like the look, whatever the prompt (LAION v2)", (5.0, 6.5), "Apache-2.0 (head), MIT (tower)",
        304.9, 0.5, _aesthetic, "camenduru/improved-aesthetic-predictor", "sac+logos+ava1-l14-linearMSE.pth",
        guides="with another", about="the tower is openai/clip-vit-large-patch14",
    ),
    Spec(
        "clipscore", "how well picture and prompt agree for CLIP ViT-L/14", (0.15, 0.35), "MIT",
        427.6, 0.03, _clip_score, "openai/clip-vit-large-patch14", "model.safetensors", guides="measure only",
    ),
    Spec(
        "mini-pickscore", "the miniature's preference, CLIP's architecture", (5, 15), "Apache-2.0", 1.1, 0.8, _clip,
    ),
    Spec(
        "mini-hps", "the miniature's preference, another architecture and data", (-8, 4), "Apache-2.0", 0.5, 1.6, _conv,
        about="kept from guiding in the benchmarks",
    ),
    Spec(
        "mini-imagereward", "the miniature's ranking, ImageReward's architecture", (-1, 0.8), "Apache-2.0", 1.7, 0.25, _image_reward,
    ),
    Spec(
        "mini-aesthetic", "how little a picture is spoilt, whatever the prompt", (-0.3, 1.1), "Apache-2.0", 0.7, 0.25, _aesthetic,
        guides="with another",
    ),
    Spec(
        "mini-step-aware", "mini-pickscore's preference on noisy one-step predictions", (5, 15), "Apache-2.0", 1.6, 0.8, _step_aware,
        reads_timestep=True,
    ),
)  # fmt: skip

SPECS: dict[str, Spec] = {spec.name: spec for spec in _ALL}
