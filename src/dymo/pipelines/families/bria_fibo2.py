"""FIBO 2: one stream of tokens that sum up the prompt and of the image's, which look at the prompt's own (Qwen3-VL's) in a few blocks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import nn

from ...errors import PipelineError
from ...parts import Argument, Set, Setting
from ..kernel import Places
from . import Encoder, inner
from .flux import TwoCalls
from .transformer import check_read, filled


class Fibo2(TwoCalls):
    """The family of `BriaFibo2Transformer2DModel`. Its layers are the blocks with a cross-attention, whose keys are the prompt's alone."""

    attention = "cross_attention"
    # The 7th and the 15th of 44 blocks.
    read: ClassVar[Mapping[int, tuple[int, int]]] = {5: (0, 1)}
    patch = None

    def layers(self, pipe: Any) -> dict[str, nn.Module]:
        blocks = inner(pipe.transformer).layers
        return {f"layers.{i}": block for i, block in enumerate(blocks) if block.cross_attention is not None}

    def places(self, pipe: Any, args: tuple, kwargs: Mapping[str, Any], tokens: tuple[int, int]) -> Places:
        """The summary lies before the image where it is as long for all prompts of the forward, and else behind it."""
        from diffusers.models.transformers.transformer_bria_fibo2 import compute_gist_count

        mask, config = kwargs["encoder_attention_mask"], pipe.transformer.config
        lengths = [kwargs["encoder_hidden_states"].shape[2]] if mask is None else mask.sum(1).tolist()
        limits = (config.min_num_gist_tokens, config.max_num_gist_tokens, config.gist_step, config.gist_min_text_len, config.gist_max_text_len)
        counts = compute_gist_count(lengths, *limits)
        return Places(counts[0] if min(counts) == max(counts) else 0)

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        if given.get("image") is not None:
            raise PipelineError(
                Argument("image"), " has the prompt written into an edit's JSON, so that its words cannot be found: ",
                Set(Setting("semantic_weight", 0)),
            )
        prompts = given.get("prompt") or []
        prompts = [prompts] if isinstance(prompts, str) else prompts
        for prompt in prompts:
            caption, _ = pipe._parse_prompt(prompt)
            if isinstance(caption, dict) and caption.get("text_render") and (given.get("render_text_images") or given.get("text_images")):
                raise PipelineError(
                    "the texts of text_render are drawn, and the pictures put into the prompt, so that its words cannot be found: ",
                    Set(Argument("render_text_images", False)), ", or ", Set(Setting("semantic_weight", 0)),
                )

        def written(prompt: str) -> str:
            caption, _ = pipe._parse_prompt(prompt)
            return prompt if isinstance(caption, str) else json.dumps(caption or {}, separators=(",", ":"), ensure_ascii=False)

        check_read(given, written)
        tokenizer, window = pipe.processor.tokenizer, pipe.tokenizer_max_length
        before, after = pipe.prompt_template_encode.split("{}")
        places = filled(tokenizer, prompts, window, around=(before, after))
        return (Encoder(tokenizer, 0, window, before=before, after=after, filled=places),)
