"""The miniature: a trained, small copy of the whole stack, inside the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WEIGHTS = Path(__file__).parent / "weights"
MINIATURE_DEFAULTS: dict[str, Any] = {"num_inference_steps": 25, "guidance_scale": 1.5}
"""What the embedded miniature is judged with: at 3 it obeys so well by itself that little is left to mend."""


def load_miniature(**kwargs: Any) -> Any:
    """The miniature's StableDiffusionPipeline (64x64 images, latents 8x16x16), by plain `from_pretrained`."""
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline.from_pretrained(WEIGHTS / "pipeline", **kwargs)


def load_tiny_decoder() -> Any:
    """The distilled AutoencoderTiny of the same latent space, for `preview_vae=`."""
    from diffusers import AutoencoderTiny

    return AutoencoderTiny.from_pretrained(WEIGHTS / "taesd").eval()


def load_judge() -> Any:
    """The judge of `judge.py`, which reads objects, colours and places from pixels."""
    from .judge import Judge

    return Judge.from_pretrained(WEIGHTS / "judge")
