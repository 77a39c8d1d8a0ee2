"""Tiny random pipelines of the transformers, of diffusers' real classes: one case for each family and form that is steered."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import tiny
import torch
import zoo
from diffusers import (
    AutoencoderDC,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    FluxControlNetModel,
    FluxControlNetPipeline,
    FluxControlPipeline,
    FluxImg2ImgPipeline,
    FluxInpaintPipeline,
    FluxKontextPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    QwenImageImg2ImgPipeline,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3ControlNetModel,
    SD3Transformer2DModel,
    StableDiffusion3ControlNetPipeline,
    StableDiffusion3Img2ImgPipeline,
    StableDiffusion3InpaintPipeline,
    StableDiffusion3Pipeline,
    ZImageImg2ImgPipeline,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
)

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


def sd3(kind: type = StableDiffusion3Pipeline, half: bool = True, channels: int = 4, **parts: Any):
    """SD3.5's form: normalised queries and keys, and a second attention over the image alone in the first block."""
    net = SD3Transformer2DModel(
        sample_size=16, patch_size=2, in_channels=channels, out_channels=channels, num_layers=3, attention_head_dim=8, num_attention_heads=2,
        caption_projection_dim=16, joint_attention_dim=64, pooled_projection_dim=64, pos_embed_max_size=24,
        dual_attention_layers=(0,) if half else (), qk_norm="rms_norm" if half else None,
    )  # fmt: skip
    encoders = {f"text_encoder{number}": tiny.text_model(CLIPTextModelWithProjection) for number in ("", "_2")}
    tokenizers = {f"tokenizer{number}": tiny.tokenizer() for number in ("", "_2")}
    parts = {
        "transformer": alive(net), "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0), "vae": vae(channels), **encoders, **tokenizers,
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


CHAT = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['content'] is string %}{{ m['content'] }}{% else %}" \
    "{% for c in m['content'] %}{{ c['text'] }}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}" \
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"  # fmt: skip


@functools.cache
def chat_tokenizer(start: bool = False) -> PreTrainedTokenizerFast:
    """Bytes and a few words as Qwen's and Gemma's tokenizers; start: with a start token, as Gemma's."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("c", "a"), ("ca", "r"), ("r", "e"), ("re", "d"), ("a", "p"), ("l", "e")]
    special = ["<pad>", "<eos>", "<bos>", "<|im_start|>", "<|im_end|>"]
    tokens = [*special, *alphabet, *("".join(m) for m in merges)]
    made = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    if start:
        made.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    names = dict(pad_token="<pad>", eos_token="<eos>", bos_token="<bos>", additional_special_tokens=special[3:])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, model_max_length=4096, padding_side="right", chat_template=CHAT, **names
    )


def language_model(kind: type, config: type, layers: int = 2, width: int = 16):
    return kind(
        config(
            vocab_size=300, hidden_size=width, intermediate_size=24, num_hidden_layers=layers, num_attention_heads=2,
            num_key_value_heads=1, head_dim=8, max_position_embeddings=1024,
        )
    ).eval()  # fmt: skip


def gemma():
    return {"text_encoder": language_model(Gemma2Model, Gemma2Config), "tokenizer": chat_tokenizer(True)}


def qwen3():
    return {"text_encoder": language_model(Qwen3Model, Qwen3Config), "tokenizer": chat_tokenizer()}


def clock(**changes: Any) -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(**{"shift": 3.0, **changes})


def pixart(kind: type = PixArtSigmaPipeline, **parts: Any):
    """Twice the channels come out: the noise, and its variance."""
    net = PixArtTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=2, cross_attention_dim=16, sample_size=16,
        patch_size=2, caption_channels=32, use_additional_conditions=False,
    )  # fmt: skip
    parts = {
        "transformer": alive(net), "scheduler": tiny.scheduler(), "vae": zoo.vae(), "text_encoder": t5(32), "tokenizer": t5_tokenizer(),
        **parts,
    }  # fmt: skip
    return tiny.quiet(kind(**parts))


def sana(kind: type = SanaPipeline, **parts: Any):
    net = SanaTransformer2DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=8, num_layers=2, num_cross_attention_heads=2,
        cross_attention_head_dim=8, cross_attention_dim=16, caption_channels=16, sample_size=32, patch_size=1, mlp_ratio=2.0,
    )  # fmt: skip
    decoder = AutoencoderDC(
        latent_channels=4, attention_head_dim=2, encoder_block_out_channels=(4, 8, 8), decoder_block_out_channels=(4, 8, 8),
        encoder_block_types=("ResBlock",) * 3, decoder_block_types=("ResBlock",) * 3, encoder_layers_per_block=(1, 1, 1),
        decoder_layers_per_block=(1, 1, 1), encoder_qkv_multiscales=((),) * 3, decoder_qkv_multiscales=((),) * 3, scaling_factor=0.4,
    ).eval()  # fmt: skip
    return tiny.quiet(kind(**{"transformer": alive(net), "scheduler": clock(), "vae": decoder, **gemma(), **parts}))


def lumina2(**parts: Any):
    """Its pipeline takes its VAE to reduce sides by 8."""
    net = Lumina2Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, hidden_size=24, num_layers=2, num_refiner_layers=1, num_attention_heads=3,
        num_kv_heads=1, multiple_of=8, axes_dim_rope=(4, 2, 2), axes_lens=(512, 16, 16), cap_feat_dim=16,
    )  # fmt: skip
    decoder = tiny.vae((4, 4, 8, 8), layers_per_block=1, shift_factor=0.1)
    return tiny.quiet(Lumina2Pipeline(**{"transformer": alive(net), "scheduler": clock(), "vae": decoder, **gemma(), **parts}))


def z_image(kind: type = ZImagePipeline, **parts: Any):
    net = ZImageTransformer2DModel(
        in_channels=4, dim=16, n_layers=2, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=16, axes_dims=[4, 2, 2],
        axes_lens=[256, 16, 16],
    )  # fmt: skip
    parts = {"transformer": alive(net), "scheduler": clock(), "vae": vae(), **qwen3(), **parts}
    for token in (net.x_pad_token, net.cap_pad_token):
        torch.nn.init.normal_(token)
    return tiny.quiet(kind(**parts))


def qwen_image(kind: type = QwenImagePipeline, **parts: Any):
    net = QwenImageTransformer2DModel(
        patch_size=2, in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=16,
        axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    decoder = AutoencoderKLQwenImage(
        base_dim=4, z_dim=4, dim_mult=[1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True], latents_mean=[0.1] * 4,
        latents_std=[1.5, 0.5, 1.0, 2.0],
    ).eval()  # fmt: skip
    parts = {"transformer": alive(net), "scheduler": clock(), "vae": decoder, **qwen3(), **parts}
    return tiny.quiet(kind(**parts))


def flux2(kind: type = Flux2KleinPipeline, **parts: Any):
    """Klein's form, with Qwen3; the pipeline stacks the hidden states of two layers."""
    net = Flux2Transformer2DModel(
        patch_size=1, in_channels=16, num_layers=2, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, timestep_guidance_channels=16, axes_dims_rope=(4, 4, 4, 4), guidance_embeds=kind is Flux2Pipeline,
    )  # fmt: skip
    decoder = AutoencoderKLFlux2(
        block_out_channels=(8, 8, 8), down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1, latent_channels=4, norm_num_groups=4, sample_size=64, use_quant_conv=False, use_post_quant_conv=False,
    ).eval()  # fmt: skip
    torch.nn.init.uniform_(decoder.bn.running_mean, -0.5, 0.5)
    torch.nn.init.uniform_(decoder.bn.running_var, 0.5, 2)
    parts = {"transformer": alive(net), "scheduler": clock(), "vae": decoder, **qwen3(), **parts}
    return tiny.quiet(kind(**parts))


def case(make: zoo.Make, rows: tuple[str, ...] = zoo.PLAIN, calls: int = STEPS, **kwargs: Any) -> zoo.Case:
    settings = {"num_inference_steps": STEPS, "output_type": "pt", **SQUARE, **kwargs}
    settings = {name: value for name, value in settings.items() if value is not None}
    return zoo.Case(zoo.seeded(make), settings, rows=rows, calls=calls)


T5 = dict(max_sequence_length=36)
AS_IS = dict(use_resolution_binning=False, clean_caption=False)
ALONE = zoo.ALONE

FAMILIES: dict[str, zoo.Case] = {
    "sd3.5": case(sd3, guidance_scale=4.0, **T5),
    "sd3": case(lambda: sd3(half=False), guidance_scale=4.0, **T5),
    # Guidance is an input; the negative prompt makes true guidance, of two calls a step.
    "flux-dev": case(flux, ALONE, **T5),
    "flux-schnell": case(lambda: flux(guided=False), ALONE, **T5),
    "flux-true-cfg": case(flux, ALONE, 2 * STEPS, negative_prompt="a dog", true_cfg_scale=3.0, **T5),
    "flux2-dev": case(lambda: flux2(Flux2Pipeline), ALONE, text_encoder_out_layers=(1, 2), max_sequence_length=512),
    "flux2-klein": case(flux2, ALONE, 2 * STEPS, text_encoder_out_layers=(1, 2), max_sequence_length=64),
    "pixart-sigma": case(pixart, **AS_IS, **T5),
    "sana": case(sana, complex_human_instruction=["Say what is seen.", "Prompt: "], **AS_IS, **T5),
    "lumina2": case(lumina2, ALONE, 2 * STEPS, system_prompt="You see", max_sequence_length=64, cfg_normalization=True),
    "z-image": case(z_image, max_sequence_length=64, guidance_scale=2.0),
    "qwen-image": case(qwen_image, ALONE, 2 * STEPS, negative_prompt="a dog", true_cfg_scale=3.0),
}
"""One case for each family: all of the acceptance is tested on them."""


def with_lora(pipe: Any):
    from peft import LoraConfig

    pipe.transformer.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_k", "to_v"], init_lora_weights=False))
    return pipe


def sd3_controlnet():
    net = SD3ControlNetModel(
        sample_size=16, patch_size=2, in_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=2,
        caption_projection_dim=16, joint_attention_dim=64, pooled_projection_dim=64, out_channels=4, pos_embed_max_size=24,
    )  # fmt: skip
    return sd3(StableDiffusion3ControlNetPipeline, controlnet=alive(net))


def flux_controlnet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # diffusers' own of its own class
        net = FluxControlNetModel(
            patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=32, pooled_projection_dim=32, guidance_embeds=True, axes_dims_rope=(4, 6, 6),
        )  # fmt: skip
    return flux(FluxControlNetPipeline, controlnet=alive(net))


IMAGE = dict(image=zoo.IMAGE)
MASKED = dict(image=zoo.IMAGE, mask_image=zoo.MASK)
SOME = dict(strength=0.6)  # of 3 steps, 2 are taken

FORMS: dict[str, zoo.Case] = {
    "sd3-img2img": case(lambda: sd3(StableDiffusion3Img2ImgPipeline), calls=2, **IMAGE, **SOME, **T5),
    "sd3-inpaint": case(lambda: sd3(StableDiffusion3InpaintPipeline, channels=16), calls=2, **MASKED, **SOME, **T5),
    "sd3-controlnet": case(sd3_controlnet, control_image=zoo.CONTROL, controlnet_conditioning_scale=0.8, **T5),
    "sd3-lora": case(lambda: with_lora(sd3()), **T5),
    # A third forward in the step that skips a layer: the prompt's rows once more.
    "sd3-skip-layers": case(sd3, calls=STEPS + 1, skip_guidance_layers=[1], skip_layer_guidance_stop=0.6, **T5),
    "flux-img2img": case(lambda: flux(FluxImg2ImgPipeline), ALONE, 2, **IMAGE, **SOME, **T5),
    "flux-inpaint": case(lambda: flux(FluxInpaintPipeline), ALONE, 2, **MASKED, **SOME, **T5),
    "flux-controlnet": case(flux_controlnet, ALONE, control_image=zoo.CONTROL, controlnet_conditioning_scale=0.8, **T5),
    "flux-lora": case(lambda: with_lora(flux()), ALONE, **T5),
    # Further channels beside the latents', and further tokens behind them.
    "flux-control": case(lambda: flux(FluxControlPipeline, channels=32), ALONE, control_image=zoo.CONTROL, **T5),
    "flux-kontext": case(lambda: flux(FluxKontextPipeline), ALONE, **IMAGE, max_area=64 * 64, _auto_resize=False, **T5),
    "qwen-image-img2img": case(
        lambda: qwen_image(QwenImageImg2ImgPipeline), ALONE, 4, negative_prompt="a dog", true_cfg_scale=3.0, **IMAGE, **SOME,
    ),
    "z-image-img2img": case(lambda: z_image(ZImageImg2ImgPipeline), calls=2, max_sequence_length=64, guidance_scale=2.0, **IMAGE, **SOME),
    "pixart-alpha": case(lambda: pixart(PixArtAlphaPipeline), **AS_IS, **T5),
}  # fmt: skip
"""The families' other pipelines, and what is put into them."""


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


def turned(x: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """Rotary embedding by complex numbers; x (B, heads, n, d), pairs of neighbours; angle (n, d / 2) or (B, n, d / 2)."""
    pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * (angle if angle.ndim == 2 else angle[:, None])).flatten(-2)


def complex_of(cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """(n, d), each value twice -> (n, d / 2)."""
    return torch.complex(cosine.double(), sine.double())[:, ::2]


def product(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    return q.double() @ k.double().transpose(-1, -2) * q.shape[-1] ** -0.5


def of_sd3(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    normed = "norm_q" in parts
    q, k, added = (parts[a] if normed else heads(parts[b], module) for a, b in
                   (("norm_q", "to_q"), ("norm_k", "to_k"), ("norm_added_k", "add_k_proj")))  # fmt: skip
    n = q.shape[2]
    scores = product(q, torch.cat([k, added], 2))
    return scores[len(scores) // 2 :], slice(0, n), slice(n, None)


def of_flux(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """[text, image], one angle for both."""
    q, k = (
        torch.cat([heads(parts[f"norm_added_{x}"], module), heads(parts[f"norm_{x}"], module)], 2) for x in ("q", "k")
    )
    angle, text = complex_of(*given["image_rotary_emb"]), parts["norm_added_q"].shape[1]
    return product(turned(q, angle), turned(k, angle)), slice(text, None), slice(0, text)


def of_qwen(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """[text, image], each with its own angle."""
    image, text = given["image_rotary_emb"]
    q, k = (
        torch.cat([turned(heads(parts[f"norm_added_{x}"], module), text), turned(heads(parts[f"norm_{x}"], module), image)], 2)
        for x in ("q", "k")
    )
    return product(q, k), slice(len(text), None), slice(0, len(text))


def of_cross(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """All keys are text, with a bias for the padding."""
    scores = product(heads(parts["to_q"], module), heads(parts["to_k"], module)) + given["attention_mask"][:, None]
    return scores[len(scores) // 2 :], slice(None), slice(None)


def of_lumina(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """[text, 4 x 4 tokens of the image]; a key for every three queries."""
    q, k = (turned(heads(parts[f"norm_{x}"], module), given["image_rotary_emb"]) for x in ("q", "k"))
    assert (q.shape[1], k.shape[1]) == (3, 1) and given["attention_mask"] is None
    text = q.shape[2] - 16
    return product(q, k), slice(text, None), slice(0, text)


def of_z_image(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """[8 x 8 tokens of the image, text of the prompt]; the positive rows first."""
    q, k = (turned(heads(parts[f"norm_{x}"], module), given["freqs_cis"]) for x in ("q", "k"))
    scores = product(q, k).masked_fill(~given["attention_mask"][:, None, None], float("-inf"))
    before, after = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"
    length = len(chat_tokenizer()(before + tiny.PROMPT + after).input_ids)
    return scores[: len(scores) // 2], slice(0, 64), slice(64, 64 + length)


_NORMS = ("norm_q", "norm_k", "norm_added_q", "norm_added_k")
_DOUBLE = Reference("transformer_blocks.{}.attn", (0, 1), _NORMS, of_flux)
_CROSS = Reference("transformer_blocks.{}.attn2", (0, 1), ("to_q", "to_k"), of_cross)
REFERENCE: dict[str, Reference] = {
    "sd3.5": Reference("transformer_blocks.{}.attn", (0, 2), ("norm_q", "norm_k", "norm_added_k"), of_sd3),
    "sd3": Reference("transformer_blocks.{}.attn", (0, 2), ("to_q", "to_k", "add_k_proj"), of_sd3),
    "flux-dev": _DOUBLE, "flux-schnell": _DOUBLE, "flux-true-cfg": _DOUBLE, "flux2-dev": _DOUBLE, "flux2-klein": _DOUBLE,
    "pixart-sigma": _CROSS, "sana": _CROSS,
    "lumina2": Reference("layers.{}.attn", (0, 1), ("norm_q", "norm_k"), of_lumina),
    "z-image": Reference("layers.{}.attention", (0, 1), ("norm_q", "norm_k"), of_z_image),
    "qwen-image": Reference("transformer_blocks.{}.attn", (0, 1), _NORMS, of_qwen),
}  # fmt: skip
