"""Pipelines of diffusers whose denoiser is known and whose loop cannot be steered: why, and what to use."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection
from typing import Any

from ...errors import PipelineError

_ROWS = "its batch has rows for each edit beside those of the prompt, so that no gradient is the prompt's own"
_MAPS = "it tells depth, normals or materials of a given picture: there is no prompt to align with"
_PICTURE = "it reads a picture in the place of a prompt, and there is nothing to align with"
_BESIDE = "its denoiser is given the latents beside a second picture, as one of twice the width"
_FRAMES = "it makes the frames of a video from one chain of latents: only pipelines for images can be steered"

REFUSED: dict[str, tuple[str, str]] = {
    "StableDiffusionPanoramaPipeline": (
        "it denoises overlapping views by calls of their own and joins them: a step is not one prediction", "StableDiffusionPipeline with a width",
    ),
    "StableDiffusionAttendAndExcitePipeline": (
        "it moves the latents inside of its steps, along a gradient of its own", "StableDiffusionPipeline, which DyMO guides by the words",
    ),
    "StableDiffusionSAGPipeline": (
        "the second call of its denoiser is on latents blurred where the first one attended, by a processor of its own",
        "StableDiffusionPAGPipeline",
    ),
    "StableDiffusionParadigmsPipeline": ("it takes many steps at once, and again until they agree", "StableDiffusionPipeline"),
    "StableDiffusionDiffEditPipeline": ("its region outside of the mask is that of an inversion, step by step", "StableDiffusionInpaintPipeline"),
    "StableDiffusionPix2PixZeroPipeline": ("it moves the latents inside of its steps, along a gradient of its own", "StableDiffusionPipeline"),
    "CycleDiffusionPipeline": ("it runs two chains at once, of two prompts, on the same noise", "StableDiffusionImg2ImgPipeline"),
    "LEditsPPPipelineStableDiffusion": (_ROWS, "StableDiffusionImg2ImgPipeline"),
    "LEditsPPPipelineStableDiffusionXL": (_ROWS, "StableDiffusionXLImg2ImgPipeline"),
    "SemanticStableDiffusionPipeline": (_ROWS, "StableDiffusionPipeline"),
    "StableDiffusionPipelineSafe": ("its batch has rows for what is unsafe beside those of the prompt", "StableDiffusionPipeline"),
    "StableDiffusionLatentUpscalePipeline": (
        "its denoiser runs inside of a preconditioning of Karras' kind, which its loop computes", "StableDiffusionUpscalePipeline",
    ),
    "StableUnCLIPPipeline": ("it samples a picture's embedding first, in a loop before its own", "StableUnCLIPImg2ImgPipeline"),
    "StableDiffusionImageVariationPipeline": (_PICTURE, "StableDiffusionImg2ImgPipeline"),
    "PaintByExamplePipeline": (_PICTURE, "StableDiffusionInpaintPipeline"),
    "UniDiffuserPipeline": ("its denoiser predicts a picture, its embedding and its text at once", "StableDiffusionPipeline"),
    "MarigoldDepthPipeline": (_MAPS, ""),
    "MarigoldNormalsPipeline": (_MAPS, ""),
    "MarigoldIntrinsicsPipeline": (_MAPS, ""),
    "TextToVideoZeroPipeline": (_FRAMES, "StableDiffusionPipeline"),
    "TextToVideoZeroSDXLPipeline": (_FRAMES, "StableDiffusionXLPipeline"),
    "VisualClozeGenerationPipeline": (
        "its latents are those of a grid of pictures of several sizes, row after row in one sequence", "FluxFillPipeline or FluxKontextPipeline",
    ),
    "VisualClozePipeline": ("it runs two pipelines in turn, of which the first paints a grid of pictures", "FluxFillPipeline or FluxKontextPipeline"),
    "QwenImageLayeredPipeline": ("it paints several layers with transparency at once, four channels each", "QwenImageEditPipeline"),
    "ZImageOmniPipeline": ("its denoiser is given several pictures for each image, of which one is to be denoised", "ZImagePipeline"),
    "PRXPixelPipeline": ("its model predicts pixels, in no latents: there is no VAE to decode", "PRXPipeline"),
    "DreamLitePipeline": (_BESIDE, "StableDiffusionXLPipeline"),
    "DreamLiteMobilePipeline": (_BESIDE, "StableDiffusionXLPipeline"),
    "Kandinsky5T2VPipeline": (_FRAMES, "Kandinsky5T2IPipeline"),
    "Kandinsky5I2VPipeline": (_FRAMES, "Kandinsky5T2IPipeline"),
    "Kandinsky5I2IPipeline": (
        "its latents have the picture's channels and a mask's beside their own, of which a step changes a part", "Kandinsky5T2IPipeline",
    ),
}  # fmt: skip
"""Class -> (why, what to use instead)."""


def check_kind(pipe: Any) -> None:
    """Raises PipelineError where the pipeline is one of these, or derives from one."""
    name = next((c.__name__ for c in type(pipe).__mro__ if c.__name__ in REFUSED), None)
    if name is not None:
        reason, instead = REFUSED[name]
        use = f". Use {instead}" if instead else ""
        raise PipelineError(f"{type(pipe).__name__} cannot be steered: {reason}{use}")


def check_blocks(pipe: Any, denoisers: Collection[str]) -> None:
    """Raises PipelineError where it is a ModularPipeline. denoisers: classes that can be steered, of which a pipeline is named."""
    kinds = [c.__name__ for c in type(pipe).__mro__ if c.__name__.endswith("ModularPipeline")]
    if not kinds:
        return
    import diffusers

    usual = (getattr(diffusers, re.sub("Modular|Base|Turbo", "", kind), None) for kind in kinds)
    instead = next((kind for kind in usual if kind is not None), None)
    if instead is None or instead.__name__ in REFUSED or _denoiser_of(instead) not in denoisers:
        use = ", and diffusers has no other pipeline of its model that could be"
    else:
        use = f": use {instead.__name__}, which takes the same components"
    raise PipelineError(f"{type(pipe).__name__} cannot be steered: it is a ModularPipeline, whose loop is made of blocks{use}")


def _denoiser_of(kind: type) -> str:
    """The class of the denoiser that a pipeline class asks for; '' where it does not say one."""
    parameters = inspect.signature(kind).parameters
    found = next((parameters[name].annotation for name in ("unet", "transformer") if name in parameters), None)
    return getattr(found, "__name__", "")
