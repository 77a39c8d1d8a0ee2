"""HunyuanImage 2.1: joint attention, the image's tokens before the prompt's; guidance by a guider of the pipeline, in two calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from ...errors import PipelineError
from ..kernel import Places
from .flux import every_block
from .qwen_image import QwenImage

_LINEAR = "ClassifierFreeGuidance"
_GUIDERS = (_LINEAR, "AdaptiveProjectedGuidance", "AdaptiveProjectedMixGuidance")


class HunyuanImage(QwenImage):
    """The family of `HunyuanImageTransformer2DModel`: read by Qwen2.5-VL in a chat, as Qwen-Image; the distilled one has no guider.

    Texts in quotes are read a second time, by ByT5, whose tokens are keys before the prompt's. The distilled model predicts the mean
    velocity until the next step, and z0' lies on along it.
    """

    # Of the 20 double blocks those at the depth of FLUX.1's.
    read: ClassVar[Mapping[int, tuple[int, int]]] = {20: (11, 18)}

    def check(self, pipe: Any) -> None:
        super().check(pipe)
        if len(pipe.transformer.config.patch_size) != 2:
            raise PipelineError(
                f"{type(pipe).__name__} has latents of frames, which it lays out anew itself before it decodes them: steer HunyuanImagePipeline, "
                "and refine its image afterwards"
            )
        for guider in (pipe.guider, pipe.ocr_guider):
            if guider is not None and type(guider).__name__ not in _GUIDERS:
                raise PipelineError(
                    f"{type(pipe).__name__} is guided by {type(guider).__name__}, of which it is not known how often it evaluates the denoiser "
                    f"and what it keeps from step to step: those that can be steered are {', '.join(_GUIDERS)}"
                )

    def tokens(self, pipe: Any, latents: Sequence[int]) -> tuple[int, int]:
        rows, columns = pipe.transformer.config.patch_size
        return latents[0] // rows, latents[1] // columns

    def recomputed(self, pipe: Any) -> Sequence[nn.Module]:
        """All blocks: diffusers' own switch gives their arguments by name to a function that takes none so."""
        return every_block(pipe)

    def guided(self, pipe: Any, given: Mapping[str, Any]) -> bool:
        guider = self._guider(pipe, given)
        return guider is not None and guider._enabled and not math.isclose(guider.guidance_scale, 1.0 - guider.use_original_formulation)

    def scale(self, pipe: Any, given: Mapping[str, Any]) -> float:
        guider = self._guider(pipe, given)
        if not self.guided(pipe, given):
            return 1.0
        return float(guider.guidance_scale) + guider.use_original_formulation if guider._is_cfg_enabled() else 1.0

    def unshared(self, pipe: Any, given: Mapping[str, Any]) -> str:
        kind = type(self._guider(pipe, given)).__name__
        return f"its {kind} is not linear, as a {_LINEAR} is" if kind != _LINEAR and self.guided(pipe, given) else ""

    def kept(self, pipe: Any, given: Mapping[str, Any]) -> Tensor | None:
        """Projected guidance has momentum: a running average of the differences between its two predictions."""
        average = getattr(getattr(self._guider(pipe, given), "momentum_buffer", None), "running_average", None)
        return average if isinstance(average, Tensor) else None

    def keep(self, pipe: Any, given: Mapping[str, Any], value: Tensor | None) -> None:
        buffer = getattr(self._guider(pipe, given), "momentum_buffer", None)
        if buffer is not None:
            buffer.running_average = 0 if value is None else value

    def reworded(self, encoded: tuple, change: Callable[[Tensor], Tensor]) -> tuple:
        qwen, mask, glyphs, *rest = encoded
        return change(qwen), mask, change(glyphs), *rest

    def places(self, pipe: Any, args: tuple, kwargs: Mapping[str, Any], tokens: tuple[int, int]) -> Places:
        image, second = tokens[0] * tokens[1], kwargs.get("encoder_attention_mask_2")
        if second is None or pipe.transformer.config.text_embed_2_dim is None:
            text: int | tuple[int, ...] = image
        else:
            text = tuple(image + int(n) for n in second.sum(1).tolist())
        return Places(0, text, kwargs["encoder_hidden_states"].shape[1])

    @staticmethod
    def _guider(pipe: Any, given: Mapping[str, Any]) -> Any:
        """What guides the call: prompts with texts in quotes may have a guider of their own. None: nothing."""
        from diffusers.pipelines.hunyuan_image.pipeline_hunyuanimage import extract_glyph_text

        prompts, embeds = given.get("prompt") or [], given.get("prompt_embeds_2")
        if embeds is None:
            texts = any(extract_glyph_text(prompt) for prompt in ([prompts] if isinstance(prompts, str) else prompts))
        else:
            texts = bool(embeds.any())
        return pipe.ocr_guider if texts and pipe.ocr_guider is not None else pipe.guider
