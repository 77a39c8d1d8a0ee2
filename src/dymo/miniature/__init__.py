"""The miniature: a trained, small copy of the whole stack, inside the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from ..errors import ConfigError, did_you_mean

MINIATURE = "miniature"
"""The embedded miniature, where its name may stand beside folders and hub ids."""
WEIGHTS = Path(__file__).parent / "weights"
MINIATURE_DEFAULTS: dict[str, Any] = {"num_inference_steps": 25, "guidance_scale": 4.0}
"""What the embedded miniature is judged with: the guidance scale at which it is best unguided (training/measured.jsonl)."""


Kind = Literal["unet", "turbo", "flow"]
PIPELINES: dict[str, tuple[str, str]] = {
    "unet": ("pipeline", "StableDiffusionPipeline"),
    "turbo": ("turbo", "StableDiffusionPipeline"),
    "flow": ("flow", "StableDiffusion3Pipeline"),
}
"""Kind -> its folder in `WEIGHTS` and its class. All generate 128x128 images by latents of 16x16x16."""


def load_miniature(kind: Kind = "unet", **kwargs: Any) -> Any:
    """A small trained text-to-image pipeline that comes with the package, by plain `from_pretrained`, in float32 unless `dtype` says otherwise.

    It draws up to three things of 20 nouns in 8 colours at 128 x 128, so that the method can be tried and measured without a download.

    "unet": a StableDiffusionPipeline with DDIM. "turbo": its student for one to eight steps without guidance (LCM).
    "flow": a StableDiffusion3Pipeline (MM-DiT, CLIP and a small T5), to be called with guidance_scale=3 and max_sequence_length=24: it
    was trained with so many tokens of T5, and with the pipeline's default of 256 its images are of no use. Raises ConfigError on another
    kind, or where its weights are not in this package.
    """
    if kind not in PIPELINES:
        raise ConfigError(f"load_miniature({kind!r}){did_you_mean(str(kind), PIPELINES)}: choose one of {', '.join(PIPELINES)}")
    folder, name = PIPELINES[kind]
    if not (WEIGHTS / folder).is_dir():
        raise ConfigError(f"load_miniature({kind!r}): its weights are not in this package: train them by training/README.md")
    import diffusers
    import torch

    # The files are in half precision, and the parts of transformers would take theirs as it is.
    if not {"dtype", "torch_dtype"} & kwargs.keys():
        kwargs["dtype"] = torch.float32
    return getattr(diffusers, name).from_pretrained(WEIGHTS / folder, **kwargs)


def load_tiny_decoder() -> Any:
    """The distilled AutoencoderTiny of the same latent space, for `preview_vae=`."""
    import torch
    from diffusers import AutoencoderTiny

    return AutoencoderTiny.from_pretrained(WEIGHTS / "taesd", dtype=torch.float32).eval()


def load_judge() -> Any:
    """The judge of `judge.py`, which reads things, colours, counts and places from pixels."""
    from .judge import Judge

    return Judge.from_pretrained(WEIGHTS / "judge")
