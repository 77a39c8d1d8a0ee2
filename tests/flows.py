"""Tiny random pipelines of the transformers, of diffusers' real classes: one case for each family and form that is steered."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import tiny
import torch
import zoo
from diffusers import (
    AdaptiveProjectedMixGuidance,
    AuraFlowPipeline,
    AuraFlowTransformer2DModel,
    AutoencoderDC,
    AutoencoderKLFlux2,
    AutoencoderKLHunyuanImage,
    AutoencoderKLQwenImage,
    AutoencoderKLQwenImage21,
    AutoencoderKLWan,
    BriaFibo2Pipeline,
    BriaFibo2Transformer2DModel,
    BriaFiboPipeline,
    BriaFiboTransformer2DModel,
    BriaPipeline,
    BriaTransformer2DModel,
    ChromaImg2ImgPipeline,
    ChromaInpaintPipeline,
    ChromaPipeline,
    ChromaTransformer2DModel,
    CogVideoXDDIMScheduler,
    CogView3PlusPipeline,
    CogView3PlusTransformer2DModel,
    CogView4ControlPipeline,
    CogView4Pipeline,
    CogView4Transformer2DModel,
    DDPMScheduler,
    ErnieImagePipeline,
    ErnieImageTransformer2DModel,
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
    GlmImagePipeline,
    GlmImageTransformer2DModel,
    HiDreamImagePipeline,
    HiDreamImageTransformer2DModel,
    HunyuanDiT2DControlNetModel,
    HunyuanDiT2DModel,
    HunyuanDiTControlNetPipeline,
    HunyuanDiTPipeline,
    HunyuanImagePipeline,
    HunyuanImageTransformer2DModel,
    Ideogram4Pipeline,
    Ideogram4Transformer2DModel,
    JoyImageEditPipeline,
    JoyImageEditTransformer3DModel,
    Kandinsky5T2IPipeline,
    Kandinsky5Transformer3DModel,
    Krea2Pipeline,
    Krea2Transformer2DModel,
    LongCatImageEditPipeline,
    LongCatImagePipeline,
    LongCatImageTransformer2DModel,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    LuminaNextDiT2DModel,
    LuminaPipeline,
    NucleusMoEImagePipeline,
    NucleusMoEImageTransformer2DModel,
    OmniGenPipeline,
    OmniGenTransformer2DModel,
    OvisImagePipeline,
    OvisImageTransformer2DModel,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    PRXPipeline,
    PRXTransformer2DModel,
    QwenImage21Pipeline,
    QwenImage21Transformer2DModel,
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
from diffusers.pipelines.omnigen.processor_omnigen import OmniGenMultiModalProcessor
from PIL import Image
from readers import (
    ImageProcessing,
    Processor,
    bert_tokenizer,
    chat_tokenizer,
    gemma,
    language_model,
    qwen3,
    qwen3_vl,
    t5,
    t5_tokenizer,
)
from transformers import (
    BertConfig,
    BertModel,
    ByT5Tokenizer,
    CLIPTextModelWithProjection,
    GlmConfig,
    GlmModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen3VLForConditionalGeneration,
    SmolLM3Config,
    SmolLM3ForCausalLM,
)

from dymo.pipelines.calls import knowing
from dymo.pixels import to_pil

STEPS = 2
SQUARE = dict(height=64, width=64)
HALF = dict(height=32, width=32)


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


@contextmanager
def its_own_warnings() -> Iterator[None]:
    """diffusers warns of classes of its own that it still uses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


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


def chroma(kind: type = ChromaPipeline, **parts: Any):
    with its_own_warnings():
        net = ChromaTransformer2DModel(
            patch_size=1, in_channels=16, num_layers=2, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=32, axes_dims_rope=(4, 6, 6), approximator_num_channels=16, approximator_hidden_dim=16, approximator_layers=1,
        )  # fmt: skip
    parts = {"transformer": alive(net), "scheduler": clock(), "vae": vae(), "text_encoder": t5(32), "tokenizer": t5_tokenizer(), **parts}
    return tiny.quiet(kind(**parts))


def chroma_inpaint():
    """Its pipeline asks for a setting that the denoiser does not have."""
    pipe = chroma(ChromaInpaintPipeline)
    pipe.transformer.register_to_config(guidance_embeds=False)
    return pipe


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


def sana(kind: type = SanaPipeline, form: dict[str, Any] | None = None, **parts: Any):
    net = SanaTransformer2DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=8, num_layers=2, num_cross_attention_heads=2,
        cross_attention_head_dim=8, cross_attention_dim=16, caption_channels=16, sample_size=32, patch_size=1, mlp_ratio=2.0,
        **(form or {}),
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


def qwen_vae() -> AutoencoderKLQwenImage:
    return AutoencoderKLQwenImage(
        base_dim=4, z_dim=4, dim_mult=[1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True], latents_mean=[0.1] * 4,
        latents_std=[1.5, 0.5, 1.0, 2.0],
    ).eval()  # fmt: skip


def qwen_image(kind: type = QwenImagePipeline, **parts: Any):
    net = QwenImageTransformer2DModel(
        patch_size=2, in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=16,
        axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    parts = {"transformer": alive(net), "scheduler": clock(), "vae": qwen_vae(), **qwen3(), **parts}
    return tiny.quiet(kind(**parts))


def longcat_image(kind: type = LongCatImagePipeline, **parts: Any):
    """Its pipeline takes its latents to have 16 channels."""
    net = LongCatImageTransformer2DModel(
        patch_size=1, in_channels=64, num_layers=2, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=16, pooled_projection_dim=16, axes_dims_rope=[4, 6, 6],
    )  # fmt: skip
    parts = {"transformer": alive(net), "scheduler": clock(), "vae": vae(16), **qwen3(), "text_processor": None, **parts}
    pipe = tiny.quiet(kind(**parts))
    pipe.tokenizer_max_length = 48
    return pipe


def longcat_edit():
    """Its prompt is read behind the picture's tokens, four here; at 64 px in place of a million of them."""
    call, tokenizer = inspect.unwrap(LongCatImageEditPipeline.__call__), copy.deepcopy(chat_tokenizer())
    small = torch.no_grad()(knowing(call, {"calculate_dimensions": lambda area, ratio: (64, 64)}))
    tokenizer.add_tokens(["<|vision_start|>", "<|vision_end|>", "<|image_pad|>"], special_tokens=True)
    start, end, pad = tokenizer.convert_tokens_to_ids(["<|vision_start|>", "<|vision_end|>", "<|image_pad|>"])
    sizes = dict(hidden_size=16, intermediate_size=24)
    words = dict(
        vocab_size=300, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=1024,
        bos_token_id=None, eos_token_id=1, rope_parameters={"rope_type": "default", "mrope_section": [2, 1, 1]}, **sizes,
    )  # fmt: skip
    config = Qwen2_5_VLConfig(
        text_config=words, vision_config=dict(depth=1, num_heads=2, out_hidden_size=16, fullatt_block_indexes=[0], **sizes),
        image_token_id=pad, vision_start_token_id=start, vision_end_token_id=end,
    )  # fmt: skip
    return longcat_image(
        type(LongCatImageEditPipeline.__name__, (LongCatImageEditPipeline,), {"__call__": small}), tokenizer=tokenizer,
        text_encoder=Qwen2_5_VLForConditionalGeneration(config).eval(), text_processor=ImageProcessing(Qwen2VLImageProcessor()),
    )  # fmt: skip


def ovis_image(**parts: Any):
    """Its instruction is short here, of which the first 28 tokens are cut off as ever, and some stay."""
    net = OvisImageTransformer2DModel(
        patch_size=1, in_channels=16, out_channels=None, num_layers=2, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=16, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    pipe = tiny.quiet(OvisImagePipeline(**{"transformer": alive(net), "scheduler": clock(), "vae": vae(), **qwen3(), **parts}))
    pipe.system_prompt = "Describe the image, red or not: "
    return pipe


def aura_flow(**parts: Any):
    net = AuraFlowTransformer2DModel(
        sample_size=16, patch_size=2, in_channels=4, num_mmdit_layers=1, num_single_dit_layers=2, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=32, caption_projection_dim=16, out_channels=4, pos_embed_max_size=144,
    )  # fmt: skip
    parts = {"transformer": alive(net), "scheduler": clock(), "vae": zoo.vae(), "text_encoder": t5(32), "tokenizer": t5_tokenizer(), **parts}
    return tiny.quiet(AuraFlowPipeline(**parts))
def krea2(**parts: Any):
    """Every token has the hidden states of two layers; a key for every two queries."""
    net = Krea2Transformer2DModel(
        in_channels=16, num_layers=2, attention_head_dim=16, num_attention_heads=2, num_key_value_heads=1, intermediate_size=24,
        timestep_embed_dim=16, text_hidden_dim=16, num_text_layers=2, text_num_attention_heads=2, text_num_key_value_heads=1,
        text_intermediate_size=16, num_layerwise_text_blocks=1, num_refiner_text_blocks=1, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    parts = {
        "transformer": alive(net), "scheduler": clock(use_dynamic_shifting=True), "vae": qwen_vae(), "text_encoder": qwen3_vl(),
        "tokenizer": chat_tokenizer(), "text_encoder_select_layers": (1, 2), **parts,
    }  # fmt: skip
    pipe = Krea2Pipeline(**parts)
    # Bytes are tokens here: a shorter instruction, of which as many are taken off as the real tokenizer makes of the whole.
    pipe.prompt_template_encode_prefix = "<|im_start|>system\nDescribe the image:<|im_end|>\n<|im_start|>user\n"
    return tiny.quiet(pipe)


def qwen_image21(**parts: Any):
    """Images are of 4 channels, and 16 times as large as latents."""
    net = QwenImage21Transformer2DModel(
        in_channels=4, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=2, context_in_dim=16, mlp_ratio=1,
        axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    decoder = AutoencoderKLQwenImage21(
        base_dim=4, decoder_base_dim=8, z_dim=4, dim_mult=[1] * 5, num_res_blocks=1, latents_mean=[0.1] * 4, latents_std=[1.5, 0.5, 1.0, 2.0],
    ).eval()  # fmt: skip
    parts = {
        "transformer": alive(net), "scheduler": clock(use_dynamic_shifting=True), "vae": decoder,
        "text_encoder": qwen3_vl(Qwen3VLForConditionalGeneration), "processor": Processor(), **parts,
    }  # fmt: skip
    return tiny.quiet(QwenImage21Pipeline(**parts))


def hidream(**parts: Any):
    """Each token is sent to one of two experts; the third block, a single one, has Llama's second layer as the second one has."""
    net = HiDreamImageTransformer2DModel(
        patch_size=2, in_channels=4, num_layers=2, num_single_layers=1, attention_head_dim=8, num_attention_heads=2, caption_channels=[32, 16],
        text_emb_dim=64, num_routed_experts=2, num_activated_experts=1, axes_dims_rope=(4, 2, 2), max_resolution=(16, 16),
        llama_layers=[0, 1, 1],
    )  # fmt: skip
    for name, parameter in net.named_parameters():
        if ".experts." in name:  # or what passes through them would hardly count
            torch.nn.init.normal_(parameter, std=0.2)
    clip = {f"text_encoder{number}": tiny.text_model(CLIPTextModelWithProjection) for number in ("", "_2")}
    tokenizers = {f"tokenizer{number}": tiny.tokenizer() for number in ("", "_2")}
    parts = {
        "transformer": alive(net), "scheduler": clock(), "vae": vae(), **clip, **tokenizers, "text_encoder_3": t5(32),
        "tokenizer_3": t5_tokenizer(), "text_encoder_4": language_model(LlamaForCausalLM, LlamaConfig),
        "tokenizer_4": copy.deepcopy(chat_tokenizer(True)), **parts,
    }  # fmt: skip
    pipe = HiDreamImagePipeline(**parts)
    pipe.default_sample_size = 16  # to whose pixels it brings every size
    return tiny.quiet(pipe)


def flux2_vae() -> AutoencoderKLFlux2:
    decoder = AutoencoderKLFlux2(
        block_out_channels=(8, 8, 8), down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1, latent_channels=4, norm_num_groups=4, sample_size=64, use_quant_conv=False, use_post_quant_conv=False,
    ).eval()  # fmt: skip
    torch.nn.init.uniform_(decoder.bn.running_mean, -0.5, 0.5)
    torch.nn.init.uniform_(decoder.bn.running_var, 0.5, 2)
    return decoder


def ernie(**parts: Any):
    """Without the language model that rewrites prompts."""
    net = ErnieImageTransformer2DModel(
        hidden_size=16, num_attention_heads=2, num_layers=2, ffn_hidden_size=24, in_channels=16, out_channels=16, text_in_dim=24,
        rope_axes_dim=(4, 2, 2),
    )  # fmt: skip
    parts = {
        "transformer": alive(net), "scheduler": clock(), "vae": flux2_vae(), "text_encoder": language_model(MistralModel, MistralConfig, width=24),
        "tokenizer": chat_tokenizer(True), **parts,
    }  # fmt: skip
    return tiny.quiet(ErnieImagePipeline(**parts))
def hunyuan_image(distilled: bool = False, **parts: Any):
    """Guided by projection, with momentum, from the second step on; the distilled one's scale is an input, with the next timestep."""
    net = HunyuanImageTransformer2DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=8, num_layers=2, num_single_layers=1, num_refiner_layers=1,
        mlp_ratio=2.0, text_embed_dim=16, text_embed_2_dim=32, rope_axes_dim=(4, 4), guidance_embeds=distilled, use_meanflow=distilled,
    )  # fmt: skip
    decoder = AutoencoderKLHunyuanImage(
        in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(32,) * 4, layers_per_block=0, spatial_compression_ratio=8,
        sample_size=64, scaling_factor=0.75,
    ).eval()  # fmt: skip
    guider = AdaptiveProjectedMixGuidance(
        guidance_scale=3.0, adaptive_projected_guidance_scale=4.0, adaptive_projected_guidance_rescale=8.0,
        adaptive_projected_guidance_start_step=0,
    )  # fmt: skip
    parts = {
        "transformer": alive(net), "scheduler": clock(), "vae": decoder, **qwen3(), "text_encoder_2": t5(32, vocabulary=400),
        "tokenizer_2": ByT5Tokenizer(), "guider": None if distilled else guider, **parts,
    }  # fmt: skip
    pipe = HunyuanImagePipeline(**parts)
    # The tiny tokenizer needs a token for each letter of the chat, of which 34 are taken off.
    pipe.tokenizer_max_length, pipe.tokenizer_2_max_length = 200, 24
    return tiny.quiet(pipe)


HUNYUAN_DIT = dict(
    num_attention_heads=2, attention_head_dim=8, in_channels=4, patch_size=2, sample_size=8, hidden_size=16, mlp_ratio=2.0,
    cross_attention_dim=16, cross_attention_dim_t5=32, pooled_projection_dim=16,
)  # fmt: skip


def hunyuan_dit(kind: type = HunyuanDiTPipeline, **parts: Any):
    """Twice the channels come out, as PixArt's. Its pipeline takes its VAE to reduce sides by 8."""
    reader = BertModel(
        BertConfig(vocab_size=len(bert_tokenizer()), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24)
    ).eval()
    parts = {
        "transformer": alive(HunyuanDiT2DModel(num_layers=4, **HUNYUAN_DIT)), "vae": tiny.vae((4, 4, 8, 8), layers_per_block=1),
        "scheduler": tiny.scheduler(DDPMScheduler, prediction_type="v_prediction"), "text_encoder": reader, "tokenizer": bert_tokenizer(),
        "text_encoder_2": t5(32), "tokenizer_2": t5_tokenizer(), **parts,
    }  # fmt: skip
    return tiny.quiet(kind(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False))


def cogview4(kind: type = CogView4Pipeline, channels: int = 4, **parts: Any):
    """Its own timesteps are not those of its noise levels, which are shifted."""
    net = CogView4Transformer2DModel(
        in_channels=channels, out_channels=4, num_layers=2, attention_head_dim=8, num_attention_heads=2, text_embed_dim=16, time_embed_dim=8,
        condition_dim=4, sample_size=16, rope_axes_dim=(16, 16),
    )  # fmt: skip
    reader = language_model(GlmModel, GlmConfig, pad_token_id=0)
    shifted = clock(shift=1.0, use_dynamic_shifting=True, time_shift_type="linear", base_shift=0.25, max_shift=0.75)
    parts = {
        "transformer": alive(net), "scheduler": shifted, "vae": vae(shift_factor=None), "text_encoder": reader,
        "tokenizer": chat_tokenizer(front=True), **parts,
    }  # fmt: skip
    return tiny.quiet(kind(**parts))


def cogview3(**parts: Any):
    """Velocity on a schedule whose signal-to-noise ratio is shifted, down to none."""
    net = CogView3PlusTransformer2DModel(
        in_channels=4, out_channels=4, num_layers=2, attention_head_dim=8, num_attention_heads=2, text_embed_dim=32, time_embed_dim=8,
        condition_dim=4, pos_embed_max_size=16, sample_size=16,
    )  # fmt: skip
    shifted = CogVideoXDDIMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing", clip_sample=False)
    parts = {
        "transformer": alive(net), "scheduler": shifted, "vae": vae(shift_factor=None), "text_encoder": t5(32), "tokenizer": t5_tokenizer(),
        **parts,
    }  # fmt: skip
    return tiny.quiet(CogView3PlusPipeline(**parts))


class ShortlyNegative(OmniGenMultiModalProcessor):
    """What is not wanted in fewer words than its own, and more than the prompt."""

    def __call__(self, *args: Any, negative_prompt: str = "low quality, blurry, deformed hands and fewer", **settings: Any) -> dict[str, Any]:
        return super().__call__(*args, negative_prompt=negative_prompt, **settings)


def omnigen(**parts: Any):
    """Without torchvision, which its processor reads pictures with. Its pipeline takes its VAE to reduce sides by 8."""
    net = OmniGenTransformer2DModel(
        in_channels=4, hidden_size=16, num_attention_heads=2, num_key_value_heads=1, intermediate_size=16, num_layers=2, pad_token_id=0,
        vocab_size=300, rope_scaling={"short_factor": [1.0] * 4, "long_factor": [1.0] * 4}, pos_embed_max_size=8, time_step_dim=16,
    )  # fmt: skip
    where = "diffusers.pipelines.omnigen"
    with ExitStack() as stack:
        stack.enter_context(mock.patch(f"{where}.processor_omnigen.transforms", create=True))
        stack.enter_context(mock.patch(f"{where}.pipeline_omnigen.OmniGenMultiModalProcessor", ShortlyNegative, create=True))
        decoder = tiny.vae((4, 4, 8, 8), layers_per_block=1)
        inverted = clock(shift=1.0, invert_sigmas=True, num_train_timesteps=1)
        parts = {"transformer": alive(net), "scheduler": inverted, "vae": decoder, "tokenizer": chat_tokenizer(), **parts}
        return tiny.quiet(OmniGenPipeline(**parts))


def prx(**parts: Any):
    net = PRXTransformer2DModel(in_channels=4, context_in_dim=16, hidden_size=16, mlp_ratio=1.0, num_heads=2, depth=2, axes_dim=[4, 4])
    with its_own_warnings():
        return tiny.quiet(PRXPipeline(**{"transformer": alive(net), "scheduler": clock(), "vae": vae(), **gemma(), **parts}))


def ideogram4(**parts: Any):
    """Of its text encoder two layers are read in place of thirteen."""
    sizes = dict(
        in_channels=16, num_layers=2, attention_head_dim=8, num_attention_heads=2, intermediate_size=16, adaln_dim=8, llm_features_dim=32,
        mrope_section=(2, 1, 1),
    )  # fmt: skip
    nets = {name: alive(Ideogram4Transformer2DModel(**sizes)) for name in ("transformer", "unconditional_transformer")}
    parts = {**nets, "scheduler": clock(), "vae": flux2_vae(), "text_encoder": qwen3_vl(), "tokenizer": chat_tokenizer(), **parts}
    pipe = Ideogram4Pipeline(**parts)
    pipe._get_text_encoder_hidden_states = knowing(pipe._get_text_encoder_hidden_states, {"QWEN3_VL_ACTIVATION_LAYERS": (0, 1)})
    return tiny.quiet(pipe)


def bria(**parts: Any):
    net = BriaTransformer2DModel(
        in_channels=16, num_layers=2, num_single_layers=1, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=32,
        axes_dims_rope=[4, 6, 6],
    )  # fmt: skip
    parts = {"transformer": alive(net), "scheduler": clock(), "vae": vae(), "text_encoder": t5(32), "tokenizer": t5_tokenizer(), **parts}
    return tiny.quiet(BriaPipeline(**parts))


def wan_vae(**changes: Any) -> AutoencoderKLWan:
    """64 px are 4 x 4 latents."""
    settings = dict(
        base_dim=4, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, False, False], in_channels=12, out_channels=12,
        latents_mean=[0.1] * 4, latents_std=[1.5, 0.5, 1.0, 2.0], patch_size=2, scale_factor_spatial=16,
    )  # fmt: skip
    return AutoencoderKLWan(**{**settings, **changes}).eval()


def fibo(**parts: Any):
    """Fewer blocks than SmolLM3 has layers, of which the last ones are read."""
    net = BriaFiboTransformer2DModel(
        in_channels=4, num_layers=2, num_single_layers=1, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=32,
        axes_dims_rope=[4, 6, 6], text_encoder_dim=16,
    )  # fmt: skip
    reader = {"text_encoder": language_model(SmolLM3ForCausalLM, SmolLM3Config, layers=3, pad_token_id=0), "tokenizer": chat_tokenizer(True)}
    return tiny.quiet(BriaFiboPipeline(**{"transformer": alive(net), "scheduler": clock(), "vae": wan_vae(), **reader, **parts}))


def fibo2(**parts: Any):
    """The prompt is summed up in 4 tokens, a longer one in 8."""
    net = BriaFibo2Transformer2DModel(
        in_channels=4, dim=24, n_layers=3, n_refiner_layers=1, n_heads=3, cap_feat_dim=32, injection_layer_ids=(0, 2), perceiver_num_layers=1,
        min_num_gist_tokens=4, max_num_gist_tokens=8, gist_step=4, gist_min_text_len=55, gist_max_text_len=59, axes_dims=(4, 2, 2),
        axes_lens=(16, 16, 16),
    )  # fmt: skip
    for i in (0, 2):  # closed at first
        torch.nn.init.constant_(net.layers[i].cross_attn_gate, 0.5)
    parts = {
        "transformer": alive(net), "scheduler": clock(), "vae": flux2_vae(), "text_encoder": qwen3_vl(Qwen3VLForConditionalGeneration),
        "processor": Processor(), **parts,
    }  # fmt: skip
    pipe = BriaFibo2Pipeline(**parts)
    pipe.text_encoder_out_layers = ((0, 1), (0, 2), (1, 2))
    return tiny.quiet(pipe)


def nucleus(**parts: Any):
    """Two experts, each for half of the image's tokens; a key for every two queries."""
    net = NucleusMoEImageTransformer2DModel(
        in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=2, num_key_value_heads=1,
        joint_attention_dim=16, axes_dims_rope=(4, 6, 6), dense_moe_strategy="all_moe", num_experts=2, moe_intermediate_dim=16,
        capacity_factors=1.0,
    )  # fmt: skip
    for block in net.transformer_blocks:  # made without values
        torch.nn.init.normal_(block.img_mlp.experts.gate_up_proj, std=0.2)
        torch.nn.init.normal_(block.img_mlp.experts.down_proj, std=0.2)
    parts = {
        "transformer": alive(net), "scheduler": clock(), "vae": qwen_vae(), "text_encoder": qwen3_vl(Qwen3VLForConditionalGeneration),
        "processor": Processor(), **parts,
    }  # fmt: skip
    pipe = NucleusMoEImagePipeline(**parts)
    pipe.default_return_index = -2
    return tiny.quiet(pipe)


def lumina_next(**parts: Any):
    """Its pipeline takes its VAE to reduce sides by 8. The variance lies beside the velocity."""
    net = LuminaNextDiT2DModel(
        sample_size=8, hidden_size=16, num_layers=2, num_attention_heads=2, num_kv_heads=1, multiple_of=8, cross_attention_dim=16,
    )  # fmt: skip
    for layer in net.layers:  # closed at first
        torch.nn.init.constant_(layer.gate, 0.5)
    decoder = tiny.vae((4, 4, 8, 8), layers_per_block=1)
    return tiny.quiet(LuminaPipeline(**{"transformer": alive(net), "scheduler": clock(), "vae": decoder, **gemma(), **parts}))


def joyimage(**parts: Any):
    """Its pipeline brings every size to one of its own."""
    net = JoyImageEditTransformer3DModel(
        in_channels=4, hidden_size=16, num_attention_heads=2, text_dim=16, mlp_width_ratio=1.0, num_layers=2, rope_dim_list=[4, 2, 2],
    )  # fmt: skip
    parts = {
        "transformer": alive(net), "scheduler": clock(), "vae": wan_vae(patch_size=None, in_channels=3, out_channels=3, scale_factor_spatial=8),
        "text_encoder": qwen3_vl(Qwen3VLForConditionalGeneration), "tokenizer": chat_tokenizer(), "processor": Processor(), **parts,
    }  # fmt: skip
    pipe = JoyImageEditPipeline(**parts)
    pipe.vae_image_processor.get_default_height_width = lambda image, height, width: (height, width)
    # Bytes are tokens here: a shorter instruction, of which as many are taken off as the real tokenizer makes of the whole.
    pipe.prompt_template_encode["image"] = "<|im_start|>system\nDescribe the image:<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n"
    pipe.prompt_template_encode_start_idx["image"] = 20
    return tiny.quiet(pipe)


def glm_image(**parts: Any):
    """Without the language model, whose tokens of the picture are given. Its VAE's scale is not heeded."""
    net = GlmImageTransformer2DModel(
        in_channels=4, out_channels=4, num_layers=2, attention_head_dim=8, num_attention_heads=2, text_embed_dim=32, time_embed_dim=8,
        condition_dim=4, prior_vq_quantizer_codebook_size=8,
    )  # fmt: skip
    parts = {
        "transformer": alive(net), "scheduler": clock(), "vae": vae(latents_mean=[0.1] * 4, latents_std=[1.5, 0.5, 1.0, 2.0]),
        "text_encoder": t5(32, vocabulary=400), "tokenizer": ByT5Tokenizer(), "processor": None, "vision_language_encoder": None, **parts,
    }  # fmt: skip
    return tiny.quiet(GlmImagePipeline(**parts))


def kandinsky5(**parts: Any):
    """Its pipeline takes its VAE to reduce sides by 8, and knows the sizes that it makes."""
    net = Kandinsky5Transformer3DModel(
        in_text_dim=16, in_text_dim2=32, time_dim=16, model_dim=16, ff_dim=24, num_text_blocks=1, num_visual_blocks=2, axes_dims=(4, 2, 2),
    )  # fmt: skip
    parts = {
        "transformer": alive(net), "scheduler": clock(), "vae": tiny.vae((4, 4, 8, 8), layers_per_block=1, shift_factor=0.1),
        "text_encoder": qwen3()["text_encoder"], "tokenizer": Processor(), "text_encoder_2": tiny.text_model(length=77),
        "tokenizer_2": tiny.tokenizer(), **parts,
    }  # fmt: skip
    pipe = Kandinsky5T2IPipeline(**parts)
    pipe.resolutions = [(64, 64)]
    # Bytes are tokens here: a shorter instruction, of which as many are taken off as the real tokenizer makes of the whole.
    pipe.prompt_template = "<|im_start|>system\nDescribe the image:<|im_end|>\n<|im_start|>user\n{}<|im_end|>"
    pipe.prompt_template_encode_start_idx = 20
    return tiny.quiet(pipe)


def flux2(kind: type = Flux2KleinPipeline, **parts: Any):
    """Klein's form, with Qwen3; the pipeline stacks the hidden states of two layers."""
    net = Flux2Transformer2DModel(
        patch_size=1, in_channels=16, num_layers=2, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, timestep_guidance_channels=16, axes_dims_rope=(4, 4, 4, 4), guidance_embeds=kind is Flux2Pipeline,
    )  # fmt: skip
    parts = {"transformer": alive(net), "scheduler": clock(), "vae": flux2_vae(), **qwen3(), **parts}
    return tiny.quiet(kind(**parts))


def case(make: zoo.Make, rows: tuple[str, ...] = zoo.PLAIN, calls: int = STEPS, prompt: str = tiny.PROMPT, **kwargs: Any) -> zoo.Case:
    settings = {"num_inference_steps": STEPS, "output_type": "pt", **SQUARE, **kwargs}
    settings = {name: value for name, value in settings.items() if value is not None}
    return zoo.Case(zoo.seeded(make), settings, prompt, rows=rows, calls=calls)


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
    "chroma": case(chroma, ALONE, 2 * STEPS, guidance_scale=3.0, **T5),
    "longcat-image": case(longcat_image, ALONE, 2 * STEPS, negative_prompt="a dog", guidance_scale=3.0, enable_prompt_rewrite=False),
    "ovis-image": case(ovis_image, ALONE, 2 * STEPS, guidance_scale=3.0, max_sequence_length=64),
    "aura-flow": case(aura_flow, **T5),
    "hidream": case(hidream, guidance_scale=3.0, max_sequence_length=40),
    "ernie-image": case(ernie, guidance_scale=3.0),
    # Guidance counts from 0.
    "krea2": case(krea2, ALONE, 2 * STEPS, guidance_scale=2.0, max_sequence_length=64),
    # The later steps run the image's tokens alone; or all steps run the prompt's too, which are queries of kernel calls of their own.
    "qwen-image-2.1": case(qwen_image21, ALONE, 2 * STEPS, negative_prompt="a dog", true_cfg_scale=3.0),
    "qwen-image-2.1-uncached": case(qwen_image21, ALONE, use_kv_cache=False),
    # A text in quotes is read by a second encoder, whose tokens lie before the prompt's.
    "hunyuan-image": case(hunyuan_image, ALONE, 2 * STEPS, f"{tiny.PROMPT} with 'ok'", **HALF),
    "cogview4": case(cogview4, ALONE, 2 * STEPS),
    "cogview3-plus": case(cogview3, guidance_scale=3.0, **HALF, **T5),
    "prx": case(prx, guidance_scale=3.0, use_resolution_binning=False, tokenizer_max_length=64, **HALF),
    # One scale for each step; the second denoiser's calls are none of the first's.
    "ideogram4": case(ideogram4, ALONE, 3, num_inference_steps=3, guidance_schedule=(3.0, 2.0, 1.5), max_sequence_length=64, **HALF),
    "bria": case(bria, guidance_scale=3.0, **HALF, **T5),
    "fibo": case(fibo, guidance_scale=3.0, negative_prompt="a dog"),
    "fibo2": case(fibo2, ALONE, 2 * STEPS, guidance_scale=3.0, negative_prompt="a dog", **HALF),
    "nucleus-image": case(nucleus, ALONE, 2 * STEPS, guidance_scale=3.0, max_sequence_length=600, **HALF),
    "lumina-next": case(lumina_next, guidance_scale=3.0, clean_caption=False),
    "kandinsky5": case(kandinsky5, ALONE, 2 * STEPS, guidance_scale=3.0),
    "joyimage": case(joyimage, ALONE, 2 * STEPS, guidance_scale=3.0),
    # What is not wanted is the pipeline's own, and longer than the prompt.
    "omnigen": case(omnigen, guidance_scale=3.0),
    "hunyuan-dit": case(hunyuan_dit, use_resolution_binning=False),
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
    with its_own_warnings():
        net = FluxControlNetModel(
            patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=32, pooled_projection_dim=32, guidance_embeds=True, axes_dims_rope=(4, 6, 6),
        )  # fmt: skip
    return flux(FluxControlNetPipeline, controlnet=alive(net))


def hunyuan_dit_controlnet():
    net = HunyuanDiT2DControlNetModel(transformer_num_layers=4, **HUNYUAN_DIT)
    return hunyuan_dit(HunyuanDiTControlNetPipeline, controlnet=alive(net))


PICTURE, CONTROL = zoo.noise(1, 3, 64, 64, seed=1), zoo.noise(1, 3, 64, 64, seed=2)
MASK = torch.zeros(1, 1, 64, 64)
MASK[..., :32] = 1
IMAGE = dict(image=PICTURE)
MASKED = dict(image=PICTURE, mask_image=MASK)
SOME = dict(num_inference_steps=3, strength=0.6)  # of which 2 are taken

FORMS: dict[str, zoo.Case] = {
    "sd3-img2img": case(lambda: sd3(StableDiffusion3Img2ImgPipeline), calls=2, **IMAGE, **SOME, **T5),
    "sd3-inpaint": case(lambda: sd3(StableDiffusion3InpaintPipeline, channels=16), calls=2, **MASKED, **SOME, **T5),
    "sd3-controlnet": case(sd3_controlnet, control_image=CONTROL, controlnet_conditioning_scale=0.8, **T5),
    "sd3-lora": case(lambda: with_lora(sd3()), **T5),
    # A third forward in the step that skips a layer: the prompt's rows once more.
    "sd3-skip-layers": case(sd3, calls=STEPS + 1, skip_guidance_layers=[1], skip_layer_guidance_stop=0.6, **T5),
    "flux-img2img": case(lambda: flux(FluxImg2ImgPipeline), ALONE, 2, **IMAGE, **SOME, **T5),
    "flux-inpaint": case(lambda: flux(FluxInpaintPipeline), ALONE, 2, **MASKED, **SOME, **T5),
    "flux-controlnet": case(flux_controlnet, ALONE, control_image=CONTROL, controlnet_conditioning_scale=0.8, **T5),
    "flux-lora": case(lambda: with_lora(flux()), ALONE, **T5),
    # Further channels beside the latents', and further tokens behind them.
    "flux-control": case(lambda: flux(FluxControlPipeline, channels=32), ALONE, control_image=CONTROL, **T5),
    "flux-kontext": case(lambda: flux(FluxKontextPipeline), ALONE, **IMAGE, max_area=64 * 64, _auto_resize=False, **T5),
    "qwen-image-img2img": case(
        lambda: qwen_image(QwenImageImg2ImgPipeline), ALONE, 4, negative_prompt="a dog", true_cfg_scale=3.0, **IMAGE, **SOME,
    ),
    "qwen-image-2.1-images": case(
        qwen_image21, ALONE, 2 * STEPS, image=to_pil(torch.cat([PICTURE, CONTROL])), output_resolution=64, negative_prompt="a dog",
        true_cfg_scale=3.0,
    ),
    "z-image-img2img": case(lambda: z_image(ZImageImg2ImgPipeline), calls=2, max_sequence_length=64, guidance_scale=2.0, **IMAGE, **SOME),
    "pixart-alpha": case(lambda: pixart(PixArtAlphaPipeline), **AS_IS, **T5),
    "chroma-img2img": case(lambda: chroma(ChromaImg2ImgPipeline), ALONE, 4, **IMAGE, **SOME, **T5),
    "chroma-inpaint": case(chroma_inpaint, ALONE, 4, **MASKED, **SOME, **T5),
    "longcat-image-edit": case(
        longcat_edit, ALONE, 2 * STEPS, height=None, width=None, negative_prompt="a dog", guidance_scale=3.0,
        image=Image.new("RGB", (64, 64), "red"),
    ),
    "hunyuan-image-distilled": case(lambda: hunyuan_image(True), ALONE, distilled_guidance_scale=3.0, **HALF),
    # Its forward takes the residuals out of the list that they come in.
    "hunyuan-dit-controlnet": case(hunyuan_dit_controlnet, use_resolution_binning=False, control_image=CONTROL),
    # Of which the denoiser is given texts in quotes alone.
    "glm-image": case(
        glm_image, ALONE, 2 * STEPS, f"{tiny.PROMPT} with 'ok'", guidance_scale=3.0, prior_token_ids=torch.arange(16)[None] % 8, **HALF,
    ),
    "cogview4-control": case(lambda: cogview4(CogView4ControlPipeline, 8), ALONE, 2 * STEPS, control_image=CONTROL),
}  # fmt: skip
"""The families' other pipelines, and what is put into them."""
