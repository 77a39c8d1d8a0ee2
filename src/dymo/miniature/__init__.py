"""The miniature: a trained, small copy of the whole stack, inside the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import RewardError

WEIGHTS = Path(__file__).parent / "weights"
SCORERS = ("mini-pickscore", "mini-hps", "mini-imagereward", "mini-aesthetic", "mini-step-aware")


def load_miniature(**kwargs: Any) -> Any:
    """The miniature's StableDiffusionPipeline (64x64 pictures, latents 8x16x16), by plain `from_pretrained`."""
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline.from_pretrained(WEIGHTS / "pipeline", **kwargs)


def load_tiny_decoder() -> Any:
    """The distilled AutoencoderTiny of the same latent space, for `preview_vae=`."""
    from diffusers import AutoencoderTiny

    return AutoencoderTiny.from_pretrained(WEIGHTS / "taesd").eval()


def load_scorer(name: str) -> Any:
    """ "mini-pickscore" (the guide), "mini-hps" (another architecture and seed; held out), "mini-imagereward",
    "mini-aesthetic", or "mini-step-aware" (the guide's like that reads the timestep). Raises RewardError.
    """
    folder = WEIGHTS / name
    if name == "mini-pickscore":
        from ..rewards.clip import load_clip

        return load_clip(folder, name)
    if name == "mini-hps":
        from .preference import ConvPreference

        return ConvPreference.from_pretrained(folder)
    if name == "mini-imagereward":
        from ..rewards.image_reward import load_image_reward

        return load_image_reward(folder, name)
    if name == "mini-aesthetic":
        from ..rewards.aesthetic import load_aesthetic

        return load_aesthetic(folder, name)
    if name == "mini-step-aware":
        from ..rewards.step_aware import load_step_aware

        return load_step_aware(folder, "", name)
    raise RewardError(f"unknown scorer {name!r}: choose one of {', '.join(map(repr, SCORERS))}")


def load_judge() -> Any:
    """The judge of `judge.py`, which reads objects, colours and places from pixels."""
    from .judge import Judge

    return Judge.from_pretrained(WEIGHTS / "judge")
