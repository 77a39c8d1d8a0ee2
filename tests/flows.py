"""Tiny random pipelines of the transformers, of diffusers' real classes: one case for each family and form that is steered."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import tiny
import torch
import zoo
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import CLIPTextModelWithProjection, PreTrainedTokenizerFast, T5Config, T5EncoderModel

STEPS = 3
SQUARE = dict(height=64, width=64)


@functools.cache
def t5_tokenizer() -> PreTrainedTokenizerFast:
    """As T5's: pieces that begin with a space's mark, no start token, an end token; some words are one piece."""
    words = ["▁a", "▁red", "▁apple", "▁and", "▁green", "▁car"]
    letters = ["▁", *(chr(c) for c in range(33, 127))]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((w, -1.0) for w in words), *((c, -5.0) for c in letters)]
    made = Tokenizer(models.Unigram(vocabulary, unk_id=2))
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    )


def t5(width: int = 32) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(vocab_size=len(t5_tokenizer()), d_model=width, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    ).eval()


def vae(channels: int = 4, **changes: Any):
    """64 px are 16 x 16 latents."""
    settings = dict(latent_channels=channels, shift_factor=0.1, use_quant_conv=False, use_post_quant_conv=False)
    return zoo.vae(**{**settings, **changes})


def alive(module: torch.nn.Module) -> torch.nn.Module:
    """What is initialised to zero (gates, last layers) would leave attention without an effect."""
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1 and not parameter.abs().sum():
            torch.nn.init.normal_(parameter, std=0.1)
        elif "scale_shift_table" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return module.eval()


def sd3(kind: type = StableDiffusion3Pipeline, half: bool = True, **parts: Any):
    """SD3.5's form: normalised queries and keys, and a second attention over the image alone in the first block."""
    net = SD3Transformer2DModel(
        sample_size=16, patch_size=2, in_channels=4, out_channels=4, num_layers=3, attention_head_dim=8, num_attention_heads=2,
        caption_projection_dim=16, joint_attention_dim=64, pooled_projection_dim=64, pos_embed_max_size=24,
        dual_attention_layers=(0,) if half else (), qk_norm="rms_norm" if half else None,
    )  # fmt: skip
    encoders = {f"text_encoder{number}": tiny.text_model(CLIPTextModelWithProjection) for number in ("", "_2")}
    tokenizers = {f"tokenizer{number}": tiny.tokenizer() for number in ("", "_2")}
    parts = {
        "transformer": alive(net), "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0), "vae": vae(), **encoders, **tokenizers,
        "text_encoder_3": t5(64), "tokenizer_3": t5_tokenizer(), **parts,
    }  # fmt: skip
    return tiny.quiet(kind(**parts))


def flux(kind: type = FluxPipeline, guided: bool = True, channels: int = 16, **parts: Any):
    net = FluxTransformer2DModel(
        patch_size=1, in_channels=channels, out_channels=16, num_layers=2, num_single_layers=1, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=32, pooled_projection_dim=32, guidance_embeds=guided, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    clock = FlowMatchEulerDiscreteScheduler(shift=3.0 if guided else 1.0, use_dynamic_shifting=guided)
    parts = {
        "transformer": alive(net), "scheduler": clock, "vae": vae(), "text_encoder": tiny.text_model(),
        "tokenizer": tiny.tokenizer(), "text_encoder_2": t5(32), "tokenizer_2": t5_tokenizer(), **parts,
    }  # fmt: skip
    return tiny.quiet(kind(**parts))


def case(make: zoo.Make, rows: tuple[str, ...] = zoo.PLAIN, calls: int = STEPS, **kwargs: Any) -> zoo.Case:
    settings = {"num_inference_steps": STEPS, "output_type": "pt", **SQUARE, **kwargs}
    settings = {name: value for name, value in settings.items() if value is not None}
    return zoo.Case(zoo.seeded(make), settings, rows=rows, calls=calls)


T5 = dict(max_sequence_length=24)
ALONE = zoo.ALONE

FAMILIES: dict[str, zoo.Case] = {
    "sd3.5": case(sd3, guidance_scale=4.0, **T5),
    "sd3": case(lambda: sd3(half=False), guidance_scale=4.0, **T5),
    # Guidance is an input; the negative prompt makes true guidance, of two calls a step.
    "flux-dev": case(flux, ALONE, **T5),
    "flux-schnell": case(lambda: flux(guided=False), ALONE, **T5),
    "flux-true-cfg": case(flux, ALONE, 2 * STEPS, negative_prompt="a dog", true_cfg_scale=3.0, **T5),
}
"""One case for each family: all of the acceptance is tested on them."""


# -- What the maps must be ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reference:
    """A family's attention computed from its parts: what the projections and norms give, the rotary embedding by complex numbers.

    of(module, parts, given) -> (scores (B, heads, queries, keys) before softmax, image queries, text keys): `parts` are the
    outputs of the module's children by name, `given` the arguments that it was called with.
    """

    attention: str
    layers: tuple[int, ...]
    children: tuple[str, ...]
    of: Callable[[Any, dict[str, torch.Tensor], dict[str, Any]], tuple[torch.Tensor, slice, slice]]

    @contextmanager
    def reading(self, pipe: Any) -> Iterator[Callable[[], torch.Tensor]]:
        """Inside, the pipeline's next forward is read; the call gives the maps, (conditional rows, queries, text)."""
        handles, seen = [], {}
        for i in self.layers:
            module = pipe.transformer.get_submodule(self.attention.format(i))
            own = seen[i] = (module, {}, {})
            for child in self.children:
                part = module.get_submodule(child)
                handles.append(part.register_forward_hook(lambda m, a, out, own=own, child=child: keep(own[1], child, out)))
            handles.append(
                module.register_forward_pre_hook(lambda m, a, k, own=own: keep(own[2], "given", {"args": a, **k}), with_kwargs=True)
            )

        def maps() -> torch.Tensor:
            found = []
            for module, parts, given in seen.values():
                scores, image, text = self.of(module, parts, given["given"])
                found.append(scores.float().softmax(-1)[:, :, image, text].mean(1))
            return torch.stack(found).mean(0).detach()

        try:
            yield maps
        finally:
            for handle in handles:
                handle.remove()


def keep(kept: dict, name: str, found: Any) -> None:
    kept.setdefault(name, found)


def heads(x: torch.Tensor, module: Any) -> torch.Tensor:
    """(B, n, heads d) or (B, n, heads, d) -> (B, heads, n, d)."""
    return (x.unflatten(-1, (module.heads, -1)) if x.ndim == 3 else x).transpose(1, 2)


def turned(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Rotary embedding by complex numbers; x (B, heads, n, d), pairs of neighbours; cosine, sine (n, d), each twice."""
    pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)).contiguous())
    angle = torch.complex(cosine.double(), sine.double())[:, ::2]
    return torch.view_as_real(pairs * angle).flatten(-2)


def of_sd3(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    normed = "norm_q" in parts
    q, k, added = (parts[a] if normed else heads(parts[b], module) for a, b in
                   (("norm_q", "to_q"), ("norm_k", "to_k"), ("norm_added_k", "add_k_proj")))  # fmt: skip
    n = q.shape[2]
    scores = q @ torch.cat([k, added], 2).transpose(-1, -2) * q.shape[-1] ** -0.5
    half = len(scores) // 2
    return scores[half:], slice(0, n), slice(n, None)


def of_flux(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    q, k = (
        torch.cat([heads(parts[f"norm_added_{x}"], module), heads(parts[f"norm_{x}"], module)], 2) for x in ("q", "k")
    )
    q, k = (turned(x, *given["image_rotary_emb"]) for x in (q, k))
    text = parts["norm_added_q"].shape[1]
    return q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, slice(text, None), slice(0, text)


_DOUBLE = Reference("transformer_blocks.{}.attn", (0, 1), ("norm_q", "norm_k", "norm_added_q", "norm_added_k"), of_flux)
REFERENCE: dict[str, Reference] = {
    "sd3.5": Reference("transformer_blocks.{}.attn", (0, 2), ("norm_q", "norm_k", "norm_added_k"), of_sd3),
    "sd3": Reference("transformer_blocks.{}.attn", (0, 2), ("to_q", "to_k", "add_k_proj"), of_sd3),
    "flux-dev": _DOUBLE, "flux-schnell": _DOUBLE, "flux-true-cfg": _DOUBLE,
}  # fmt: skip
