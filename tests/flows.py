"""Tiny random pipelines of the transformers, of diffusers' real classes: one case for each family and form that is steered."""

from __future__ import annotations

import copy
import functools
import inspect
import re
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

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
    ChromaImg2ImgPipeline,
    ChromaInpaintPipeline,
    ChromaPipeline,
    ChromaTransformer2DModel,
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
    HiDreamImagePipeline,
    HiDreamImageTransformer2DModel,
    HunyuanDiT2DControlNetModel,
    HunyuanDiT2DModel,
    HunyuanDiTControlNetPipeline,
    HunyuanDiTPipeline,
    HunyuanImagePipeline,
    HunyuanImageTransformer2DModel,
    Krea2Pipeline,
    Krea2Transformer2DModel,
    LongCatImageEditPipeline,
    LongCatImagePipeline,
    LongCatImageTransformer2DModel,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    OvisImagePipeline,
    OvisImageTransformer2DModel,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
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
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    BatchFeature,
    BertConfig,
    BertModel,
    BertTokenizer,
    ByT5Tokenizer,
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    GlmConfig,
    GlmModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLImageProcessorPil,
    Qwen3Config,
    Qwen3Model,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLModel,
    T5Config,
    T5EncoderModel,
)

from dymo.pixels import to_pil

STEPS = 3
SQUARE = dict(height=64, width=64)
HALF = dict(height=32, width=32)


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


def t5(width: int = 32, vocabulary: int | None = None) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(vocab_size=vocabulary or len(t5_tokenizer()), d_model=width, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
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


CHAT = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['content'] is string %}{{ m['content'] }}{% else %}" \
    "{% for c in m['content'] %}{{ c['text'] }}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}" \
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"  # fmt: skip


@functools.cache
def chat_tokenizer(start: bool = False, front: bool = False) -> PreTrainedTokenizerFast:
    """Bytes and a few words as Qwen's and Gemma's tokenizers; start: with a start token, as Gemma's.

    front: with two tokens before each text, and filled up before these, as GLM-4's.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("c", "a"), ("ca", "r"), ("r", "e"), ("re", "d"), ("a", "p"), ("l", "e")]
    special = ["<pad>", "<eos>", "<bos>", "<|im_start|>", "<|im_end|>"]
    tokens = [*special, *alphabet, *("".join(m) for m in merges), "[gMASK]", "<sop>"]
    made = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    if start:
        made.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    if front:
        first = [(name, tokens.index(name)) for name in tokens[-2:]]
        made.post_processor = processors.TemplateProcessing(single="[gMASK] <sop> $A", special_tokens=first)
        special += tokens[-2:]
    names = dict(pad_token="<pad>", eos_token="<eos>", bos_token="<bos>", additional_special_tokens=special[3:])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, model_max_length=4096, padding_side="left" if front else "right", chat_template=CHAT, **names
    )


def language_model(kind: type, config: type, layers: int = 2, width: int = 16, **changes: Any):
    return kind(
        config(
            vocab_size=300, hidden_size=width, intermediate_size=24, num_hidden_layers=layers, num_attention_heads=2,
            num_key_value_heads=1, head_dim=8, max_position_embeddings=1024, **changes,
        )
    ).eval()  # fmt: skip


def gemma():
    return {"text_encoder": language_model(Gemma2Model, Gemma2Config), "tokenizer": chat_tokenizer(True)}


def qwen3():
    return {"text_encoder": language_model(Qwen3Model, Qwen3Config), "tokenizer": chat_tokenizer()}


VISION = ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>")


def qwen3_vl(kind: type = Qwen3VLModel):
    text = dict(
        vocab_size=300, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        head_dim=8, max_position_embeddings=1024, rope_parameters=dict(rope_type="default", mrope_section=[2, 1, 1], rope_theta=10000.0),
    )  # fmt: skip
    vision = dict(
        depth=1, hidden_size=16, intermediate_size=16, num_heads=2, out_hidden_size=16, num_position_embeddings=16, patch_size=16,
        deepstack_visual_indexes=[0],
    )  # fmt: skip
    first = len(chat_tokenizer())  # the tokens of VISION follow
    tokens = dict(vision_start_token_id=first, image_token_id=first + 1, vision_end_token_id=first + 2)
    return kind(Qwen3VLConfig(text_config=text, vision_config=vision, **tokens)).eval()


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
    names = {**call.__globals__, "calculate_dimensions": lambda area, ratio: (64, 64)}
    small = torch.no_grad()(types.FunctionType(call.__code__, names, call.__name__, call.__defaults__))
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


@dataclass
class ImageProcessing:
    """In the place of a language model's processor, which asks for a package for videos too."""

    image_processor: Any


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


class Processor:
    """Qwen3-VL's, of its parts: the real one cannot be made without torchvision, for its videos."""

    def __init__(self):
        self.tokenizer = copy.deepcopy(chat_tokenizer())
        self.tokenizer.add_special_tokens({"additional_special_tokens": list(VISION)}, replace_extra_special_tokens=False)
        self.images = Qwen2VLImageProcessorPil(patch_size=16, merge_size=2, size={"shortest_edge": 32 * 32, "longest_edge": 64 * 64})

    def apply_chat_template(self, messages: list, **settings: Any) -> list[list[int]]:
        return [self.tokenizer(self.tokenizer.apply_chat_template(messages, tokenize=False)).input_ids]

    def __call__(self, text: list[str], images: list | None = None, **settings: Any) -> Any:
        found = BatchFeature()
        if images is not None:
            found.update(self.images(images, return_tensors="pt"))
            slots = [int(grid.prod()) // 4 for grid in found["image_grid_thw"]]
            text = [re.sub(re.escape(VISION[1]), lambda _: VISION[1] * slots.pop(0), one) for one in text]
        found.update(self.tokenizer(text, **settings))
        found["mm_token_type_ids"] = (found["input_ids"] == self.tokenizer.convert_tokens_to_ids(VISION[1])).int()
        return found


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


@functools.cache
def bert_tokenizer() -> BertTokenizer:
    """Small letters, and words in pieces that begin with "##" but for the first."""
    letters = [chr(c) for c in range(33, 127) if not chr(c).isupper()]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "app", "and", "green", "car", *letters, *(f"##{c}" for c in letters)]
    return BertTokenizer(vocab={token: i for i, token in enumerate(tokens)}, model_max_length=77)


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
    "qwen-image-2.1-images": case(
        qwen_image21, ALONE, 2 * STEPS, image=to_pil(torch.cat([zoo.IMAGE, zoo.CONTROL])), output_resolution=64, negative_prompt="a dog",
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
    "hunyuan-dit-controlnet": case(hunyuan_dit_controlnet, use_resolution_binning=False, control_image=zoo.CONTROL),
    "cogview4-control": case(lambda: cogview4(CogView4ControlPipeline, 8), ALONE, 2 * STEPS, control_image=zoo.CONTROL),
}  # fmt: skip
"""The families' other pipelines, and what is put into them."""


# -- What the maps must be ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reference:
    """A family's attention computed from its parts: what the projections and norms give, the rotary embedding by complex numbers.

    attention: the name of its module, {} for the layer's number; names: of each layer, where they are no series. of(module, parts, given)
    -> (scores (B, heads, queries, keys) before softmax, image queries, text keys): `parts` are the outputs of the module's children by
    name, `given` the arguments that it was called with.
    """

    attention: str
    layers: tuple[int, ...]
    children: tuple[str, ...]
    of: Callable[[Any, dict[str, torch.Tensor], dict[str, Any]], tuple[torch.Tensor, slice, slice]]
    names: tuple[str, ...] = ()

    @contextmanager
    def reading(self, pipe: Any) -> Iterator[Callable[[], torch.Tensor]]:
        """Inside, the pipeline's next forward is read; the call gives the maps, (conditional rows, queries, text)."""
        handles, seen = [], {}
        for i, name in zip(self.layers, self.names or map(self.attention.format, self.layers), strict=True):
            module = pipe.transformer.get_submodule(name)
            own = seen[i] = (module, {}, {})
            for child in self.children:
                if (part := attrgetter(child)(module)) is None:
                    continue
                # A copy: CogView4 turns in place what its norms gave.
                handles.append(part.register_forward_hook(lambda m, a, out, own=own, child=child: keep(own[1], child, out.clone())))
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
    """[text, image], one angle for both; Chroma adds 1 to the scores among all that is no padding."""
    q, k = (
        torch.cat([heads(parts[f"norm_added_{x}"], module), heads(parts[f"norm_{x}"], module)], 2) for x in ("q", "k")
    )
    angle, text = complex_of(*given["image_rotary_emb"]), parts["norm_added_q"].shape[1]
    return product(turned(q, angle), turned(k, angle)) + given.get("attention_mask", 0), slice(text, None), slice(0, text)


def of_aura_flow(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """[8 registers, text, 8 x 8 tokens of the image], in two streams or one."""
    q, k = (torch.cat([heads(parts[n], module) for n in (f"norm_added_{x}", f"norm_{x}") if n in parts], 2) for x in ("q", "k"))
    scores, text = product(q, k), q.shape[2] - 64
    return scores[len(scores) // 2 :], slice(text, None), slice(8, text)


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


def of_hunyuan_dit(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """All keys are text, unturned, and so is what fills up."""
    scores = product(turned(parts["norm_q"], complex_of(*given["image_rotary_emb"])), parts["norm_k"])
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


def of_krea(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """[text with padding in its middle, 8 x 8 tokens of the image], one angle for both."""
    angle, mask = complex_of(*given["image_rotary_emb"]), given["attention_mask"]
    q, k = (turned(heads(parts[f"norm_{x}"], module), angle) for x in ("q", "k"))
    assert (q.shape[1], k.shape[1]) == (2, 1) and 0 < mask.sum() < mask.numel()
    return product(q, k).masked_fill(~mask, float("-inf")), slice(-64, None), slice(0, q.shape[2] - 64)


def of_qwen21(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """[text, 4 x 4 tokens of the image]; the text's keys may be those of the first step."""
    q, k = (turned(heads(parts[f"norm_{x}"], module), given["rotary_emb"]) for x in ("q", "k"))
    if given["kv_cache_mode"] == "cached":
        k = torch.cat([given["layer_cache"].k.transpose(1, 2), k], 2)
        assert q.shape[2] == 16 < k.shape[2]
    return product(q, k), slice(-16, None), slice(0, k.shape[2] - 16)


def of_hidream(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """[8 x 8 tokens of the image, T5's text, Llama's twice], turned by matrices."""
    q, k = (
        torch.cat([heads(parts[f"{x}_rms_norm"], module), heads(parts[f"{x}_rms_norm_t"], module)], 2) for x in ("q", "k")
    )
    turns = given["image_rotary_emb"][:, :, 0, :, :, 0]  # (B, n, d / 2, 2), cosines and sines
    q, k = (turned(x, torch.complex(*turns.double().unbind(-1))) for x in (q, k))
    scores = product(q, k)
    return scores[len(scores) // 2 :], slice(0, 64), slice(64, 64 + 3 * 40)


def of_ernie(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """[8 x 8 tokens of the image, text]; a number is turned with that half of the depth away, by an angle of its own."""
    angle = given["image_rotary_emb"].double().transpose(1, 2)  # (B, 1, n, d)
    half = torch.eye(8).roll(4, 0).double() * torch.tensor([1.0] * 4 + [-1.0] * 4)  # minus the second half, before the first one
    q, k = (heads(parts[f"norm_{x}"], module).double() for x in ("q", "k"))
    q, k = (x * angle.cos() + x @ half.T * angle.sin() for x in (q, k))
    scores = product(q, k).masked_fill(~given["attention_mask"], float("-inf"))
    return scores[len(scores) // 2 :], slice(0, 64), slice(64, None)
def of_cogview4(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """[text, image]: the image's tokens turned, by pairs of a dimension and that half of them further."""
    cosine, sine = given["image_rotary_emb"]
    angle, text = torch.complex(cosine.double(), sine.double())[:, : cosine.shape[1] // 2], given["encoder_hidden_states"].shape[1]

    def placed(x: torch.Tensor) -> torch.Tensor:
        pairs = x[:, :, text:].unflatten(-1, (2, -1)).transpose(-1, -2).flatten(-2)
        image = turned(pairs, angle).unflatten(-1, (-1, 2)).transpose(-1, -2).flatten(-2)
        return torch.cat([x[:, :, :text].double(), image], 2)

    q, k = (placed(parts[f"norm_{x}"]) for x in ("q", "k"))
    return product(q, k), slice(text, None), slice(0, text)


def of_hunyuan_image(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """[image, text]: the image's tokens turned, the text those that ByT5 read, then the chat's, then what fills both up."""
    angle = complex_of(*given["image_rotary_emb"])
    image = (turned(heads(parts[f"norm_{x}"], module), angle) for x in ("q", "k"))
    text = (heads(parts[f"norm_added_{x}"], module) for x in ("q", "k"))
    q, k = (torch.cat(pair, 2) for pair in zip(image, text, strict=True))
    scores = product(q, k).masked_fill(~given["attention_mask"], float("-inf"))
    second = len(ByT5Tokenizer()("Text \"ok\". ").input_ids)
    return scores, slice(0, len(angle)), slice(len(angle) + second, len(angle) + second + 200)


_NORMS = ("norm_q", "norm_k", "norm_added_q", "norm_added_k")
_DOUBLE = Reference("transformer_blocks.{}.attn", (0, 1), _NORMS, of_flux)
_CROSS = Reference("transformer_blocks.{}.attn2", (0, 1), ("to_q", "to_k"), of_cross)
REFERENCE: dict[str, Reference] = {
    "sd3.5": Reference("transformer_blocks.{}.attn", (0, 2), ("norm_q", "norm_k", "norm_added_k"), of_sd3),
    "sd3": Reference("transformer_blocks.{}.attn", (0, 2), ("to_q", "to_k", "add_k_proj"), of_sd3),
    "flux-dev": _DOUBLE, "flux-schnell": _DOUBLE, "flux-true-cfg": _DOUBLE, "flux2-dev": _DOUBLE, "flux2-klein": _DOUBLE,
    "chroma": _DOUBLE, "longcat-image": _DOUBLE, "ovis-image": _DOUBLE, "pixart-sigma": _CROSS, "sana": _CROSS,
    "lumina2": Reference("layers.{}.attn", (0, 1), ("norm_q", "norm_k"), of_lumina),
    "z-image": Reference("layers.{}.attention", (0, 1), ("norm_q", "norm_k"), of_z_image),
    "qwen-image": Reference("transformer_blocks.{}.attn", (0, 1), _NORMS, of_qwen),
    "aura-flow": Reference("", (0, 2), _NORMS, of_aura_flow, ("joint_transformer_blocks.0.attn", "single_transformer_blocks.1.attn")),
    **dict.fromkeys(
        ("qwen-image-2.1", "qwen-image-2.1-uncached"), Reference("transformer_blocks.{}.attn", (0, 1), ("norm_q", "norm_k"), of_qwen21)
    ),
    "hidream": Reference(
        "double_stream_blocks.{}.block.attn1", (0, 1), ("q_rms_norm", "k_rms_norm", "q_rms_norm_t", "k_rms_norm_t"), of_hidream
    ),
    "ernie-image": Reference("layers.{}.self_attention", (0, 1), ("norm_q", "norm_k"), of_ernie),
    "krea2": Reference("transformer_blocks.{}.attn", (0, 1), ("norm_q", "norm_k"), of_krea),
    "hunyuan-image": Reference("transformer_blocks.{}.attn", (0, 1), _NORMS, of_hunyuan_image),
    "hunyuan-dit": Reference("blocks.{}.attn2", (0, 3), ("norm_q", "norm_k"), of_hunyuan_dit),
    "cogview4": Reference("transformer_blocks.{}.attn1", (0, 1), ("norm_q", "norm_k"), of_cogview4),
}  # fmt: skip
