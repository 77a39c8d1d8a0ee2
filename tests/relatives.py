"""Tiny pipelines whose denoiser has a full case in `flows` or `zoo`, put to other uses: control, masks, references, other guidance.

Each by the name of its class, with a remark where it is there twice.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import diffusers as d
import flows
import readers
import tiny
import torch
import zoo
from diffusers.models.attention_processor import SD3IPAdapterJointAttnProcessor2_0
from diffusers.models.embeddings import IPAdapterTimeImageProjection
from diffusers.pipelines.deprecated.alt_diffusion.modeling_roberta_series import (
    RobertaSeriesConfig,
    RobertaSeriesModelWithTransformation,
)
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from flows import AS_IS, MASKED, SOME, T5
from PIL import Image
from transformers import CLIPImageProcessor, Qwen3Config, Qwen3Model

SIDE = 32
IMAGE, CONTROL = dict(image=zoo.noise(1, 3, SIDE, SIDE, seed=1)), dict(control_image=zoo.noise(1, 3, SIDE, SIDE, seed=2))
MASK = torch.zeros(1, 1, SIDE, SIDE)
MASK[..., : SIDE // 2] = 1
PICTURE = Image.fromarray((flows.PICTURE[0].permute(1, 2, 0) * 255).byte().numpy())
SIZE, PAG, MIDDLE = dict(height=SIDE, width=SIDE), dict(pag_scale=3.0), dict(pag_applied_layers="mid")


def case(make: zoo.Make, steps: int = 2, **kwargs: Any) -> zoo.Case:
    return zoo.Case(zoo.seeded(make), {"num_inference_steps": steps, "output_type": "pt", **kwargs})


# -- UNets -------------------------------------------------------------------------------------------------------------------------------


# One level: what these pipelines do to the denoiser's arguments does not depend on its depth.
LEVEL = dict(block_out_channels=(8,), down_block_types=("CrossAttnDownBlock2D",))
XL = {**zoo.XL, "transformer_layers_per_block": 1}


def unet(**changes: Any) -> Any:
    return tiny.unet(**{**LEVEL, "up_block_types": ("CrossAttnUpBlock2D",), **changes})


def sd(kind: type, **parts: Any) -> Any:
    return tiny.sd(kind, **{"unet": unet(), "vae": zoo.vae(), **parts})


def sdxl(kind: type, **parts: Any) -> Any:
    return tiny.sdxl(kind, **{"unet": unet(**XL), "vae": zoo.vae(), **parts})


def controlnet(**changes: Any) -> Any:
    return tiny.controlnet(conditioning_embedding_out_channels=(4, 8, 8), **LEVEL, **changes)


def controlnet_xl() -> Any:
    return controlnet(**XL)


def controlled(make: Any, net: Any, kind: type, **parts: Any) -> zoo.Make:
    return lambda: make(kind, controlnet=net(), **parts)


def union() -> Any:
    net = d.ControlNetUnionModel(
        in_channels=4, layers_per_block=1, norm_num_groups=4, attention_head_dim=4, conditioning_embedding_out_channels=(4, 8, 8),
        num_control_type=2, num_trans_channel=8, num_trans_head=2, num_proj_channel=8, **LEVEL, **XL,
    ).eval()  # fmt: skip
    for parameter in net.controlnet_down_blocks.parameters():  # initialised to zero: without this the net adds nothing
        torch.nn.init.normal_(parameter, std=0.1)
    return net


def between(make: Any, kind: type, **changes: Any) -> Any:
    """ControlNet-XS runs between the UNet's own blocks, in a model of both."""
    own = unet(block_out_channels=(16,), norm_num_groups=8, layers_per_block=2, **changes)
    return make(kind, unet=own, controlnet=d.ControlNetXSAdapter.from_unet(own, 0.5, conditioning_embedding_out_channels=(4, 8, 8)))


def depth() -> Any:
    """The depth is a fifth channel beside the latents."""
    parts = dict(vae=zoo.vae(), unet=unet(in_channels=5), text_encoder=tiny.text_model(), tokenizer=tiny.tokenizer())
    return tiny.quiet(d.StableDiffusionDepth2ImgPipeline(**parts, scheduler=tiny.scheduler(), depth_estimator=None, feature_extractor=None))


def gligen(kind: type = d.StableDiffusionGLIGENPipeline, attention: str = "gated", **parts: Any) -> Any:
    parts = {"unet": unet(attention_type=attention), "vae": zoo.vae(), "text_encoder": tiny.text_model(), **parts}
    parts |= {"tokenizer": tiny.tokenizer(), "scheduler": tiny.scheduler(), "safety_checker": None, "feature_extractor": None}
    pipe = kind(**parts, requires_safety_checker=False)
    for name, parameter in pipe.unet.named_parameters():  # closed at first
        if "fuser.alpha" in name:
            torch.nn.init.constant_(parameter, 0.5)
    return tiny.quiet(pipe)


def upscale() -> Any:
    """The picture to be enlarged lies beside the latents, and the level of its noise is a class."""
    parts = dict(vae=zoo.vae(scaling_factor=0.08333), text_encoder=tiny.text_model(), tokenizer=tiny.tokenizer())
    parts |= dict(unet=unet(in_channels=7, num_class_embeds=1000), low_res_scheduler=d.DDPMScheduler(), scheduler=tiny.scheduler())
    return tiny.quiet(d.StableDiffusionUpscalePipeline(**parts, max_noise_level=350))


def alt() -> Any:
    """Its text encoder is XLM-R's, of one hidden state a token as CLIP's."""
    config = RobertaSeriesConfig(
        hidden_size=32, project_dim=32, intermediate_size=40, num_attention_heads=4, num_hidden_layers=2, vocab_size=len(tiny.tokenizer()),
        max_position_embeddings=60,
    )  # fmt: skip
    return sd(d.AltDiffusionPipeline, text_encoder=RobertaSeriesModelWithTransformation(config).eval(), image_encoder=None)


def unclip() -> Any:
    """A picture's embedding is a class; the bar is around the timesteps."""
    noising = dict(image_normalizer=StableUnCLIPImageNormalizer(12), image_noising_scheduler=d.DDPMScheduler())
    seeing = dict(feature_extractor=CLIPImageProcessor(size=SIDE, crop_size=SIDE), image_encoder=zoo.image_encoder())
    own = unet(class_embed_type="projection", projection_class_embeddings_input_dim=24)
    parts = dict(unet=own, vae=zoo.vae(), text_encoder=tiny.text_model(), tokenizer=tiny.tokenizer(), scheduler=tiny.scheduler())
    return tiny.quiet(d.StableUnCLIPImg2ImgPipeline(**noising, **seeing, **parts))


BOX = dict(gligen_phrases=["apple"], gligen_boxes=[[0.1, 0.1, 0.5, 0.5]])
ALL3 = dict(**IMAGE, mask_image=MASK, **CONTROL, strength=0.75)
UNION = dict(control_image=[CONTROL["control_image"]], control_mode=[0], **SIZE)
AGAIN = dict(**IMAGE, steps=3, strength=0.75)  # 2 of 3

UNETS: dict[str, zoo.Case] = {
    "StableDiffusionXLControlNetImg2ImgPipeline": case(
        controlled(sdxl, controlnet_xl, d.StableDiffusionXLControlNetImg2ImgPipeline), **AGAIN, **CONTROL, **SIZE,
    ),
    "StableDiffusionXLControlNetInpaintPipeline": case(
        controlled(sdxl, controlnet_xl, d.StableDiffusionXLControlNetInpaintPipeline), 3, **ALL3, **SIZE,
    ),
    "StableDiffusionXLControlNetUnionPipeline": case(controlled(sdxl, union, d.StableDiffusionXLControlNetUnionPipeline), **UNION),
    "StableDiffusionXLControlNetUnionImg2ImgPipeline": case(
        controlled(sdxl, union, d.StableDiffusionXLControlNetUnionImg2ImgPipeline), **AGAIN, **UNION,
    ),
    "StableDiffusionXLControlNetUnionInpaintPipeline": case(
        controlled(sdxl, union, d.StableDiffusionXLControlNetUnionInpaintPipeline), **AGAIN, mask_image=MASK, **UNION,
    ),
    "StableDiffusionControlNetXSPipeline": case(
        lambda: between(sd, d.StableDiffusionControlNetXSPipeline), image=CONTROL["control_image"], **SIZE,
    ),
    "StableDiffusionXLControlNetXSPipeline": case(
        lambda: between(sdxl, d.StableDiffusionXLControlNetXSPipeline, **XL), image=CONTROL["control_image"], **SIZE,
    ),
    "StableDiffusionPAGImg2ImgPipeline": case(lambda: sd(d.StableDiffusionPAGImg2ImgPipeline, **MIDDLE), **AGAIN, **PAG),
    "StableDiffusionPAGInpaintPipeline": case(
        lambda: sd(d.StableDiffusionPAGInpaintPipeline, **MIDDLE), **AGAIN, mask_image=MASK, **PAG, **SIZE,
    ),
    "StableDiffusionControlNetPAGInpaintPipeline": case(
        controlled(sd, controlnet, d.StableDiffusionControlNetPAGInpaintPipeline, **MIDDLE), 3, **ALL3, **PAG, **SIZE,
    ),
    "StableDiffusionXLPAGImg2ImgPipeline": case(lambda: sdxl(d.StableDiffusionXLPAGImg2ImgPipeline, **MIDDLE), **AGAIN, **PAG),
    "StableDiffusionXLPAGInpaintPipeline": case(
        lambda: sdxl(d.StableDiffusionXLPAGInpaintPipeline, **MIDDLE), **AGAIN, mask_image=MASK, **PAG, **SIZE,
    ),
    "StableDiffusionXLControlNetPAGPipeline": case(
        controlled(sdxl, controlnet_xl, d.StableDiffusionXLControlNetPAGPipeline, **MIDDLE), image=CONTROL["control_image"], **PAG, **SIZE,
    ),
    "StableDiffusionXLControlNetPAGImg2ImgPipeline": case(
        controlled(sdxl, controlnet_xl, d.StableDiffusionXLControlNetPAGImg2ImgPipeline, **MIDDLE), **AGAIN, **CONTROL, **PAG, **SIZE,
    ),
    "LatentConsistencyModelImg2ImgPipeline": case(
        lambda: sd(
            d.LatentConsistencyModelImg2ImgPipeline, unet=unet(time_cond_proj_dim=8), scheduler=tiny.scheduler(d.LCMScheduler),
            image_encoder=None,
        ),
        **IMAGE, strength=0.9,
    ),
    "StableDiffusionDepth2ImgPipeline": case(depth, **AGAIN, depth_map=zoo.noise(1, 8, 8, seed=4)),
    # Those that keep their guidance to themselves.
    "StableDiffusionGLIGENPipeline": case(gligen, **BOX, **SIZE),
    "StableDiffusionGLIGENTextImagePipeline": case(
        lambda: gligen(
            d.StableDiffusionGLIGENTextImagePipeline, "gated-text-image", processor=tiny.tokenizer(), image_encoder=None, image_project=None,
        ),
        **BOX, gligen_images=[None], **SIZE,
    ),
    "StableDiffusionModelEditingPipeline": case(lambda: sd(d.StableDiffusionModelEditingPipeline), **SIZE),
    "StableUnCLIPImg2ImgPipeline": case(unclip, image=PICTURE, **SIZE),
    "AltDiffusionPipeline": case(alt, **SIZE),
    "StableDiffusionUpscalePipeline": case(upscale, image=zoo.noise(1, 3, 8, 8, seed=1)),
}  # fmt: skip


# -- Transformers ------------------------------------------------------------------------------------------------------------------------


def sd3_controlnet() -> Any:
    """The masked image and its mask enter the net beside the latents."""
    net = d.SD3ControlNetModel(
        sample_size=16, patch_size=2, in_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=2, extra_conditioning_channels=1,
        caption_projection_dim=16, joint_attention_dim=64, pooled_projection_dim=64, out_channels=4, pos_embed_max_size=24,
    )  # fmt: skip
    return flows.alive(net)


def flux_controlnet() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # diffusers' own of its own class
        net = d.FluxControlNetModel(
            patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=32, pooled_projection_dim=32, guidance_embeds=True, axes_dims_rope=(4, 6, 6),
        )  # fmt: skip
    return flows.alive(net)


def qwen_controlnet(extra: int = 0) -> Any:
    net = d.QwenImageControlNetModel(
        patch_size=2, in_channels=16, out_channels=4, num_layers=1, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=16,
        axes_dims_rope=(4, 6, 6), extra_condition_channels=extra,
    )  # fmt: skip
    return flows.alive(net)


def sana_controlnet() -> Any:
    net = d.SanaControlNetModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=8, num_layers=1, num_cross_attention_heads=2,
        cross_attention_head_dim=8, cross_attention_dim=16, caption_channels=16, sample_size=32, patch_size=1, mlp_ratio=2.0,
    )  # fmt: skip
    return flows.alive(net)


def sana_sprint(kind: type) -> Any:
    return flows.sana(kind, dict(guidance_embeds=True, qk_norm="rms_norm_across_heads"), scheduler=d.SCMScheduler())


def z_controlnet(channels: int) -> Any:
    """It borrows the transformer's embeddings and refiners, and is given the text's tokens too."""
    net = d.ZImageControlNetModel(
        control_layers_places=[0], control_refiner_layers_places=[0], control_in_dim=channels, add_control_noise_refiner="control_layers",
        dim=16, n_refiner_layers=1, n_heads=2, n_kv_heads=2,
    )  # fmt: skip
    return flows.alive(net)


CONTROLLED = dict(control_image=flows.CONTROL)


def projected(width: int, tokens: int, layers: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """An IP-Adapter's weights in its file's layout: what makes tokens of an embedding of 12, and the layers' own."""
    proj = {
        "proj.weight": torch.randn(width * tokens, 12), "proj.bias": torch.zeros(width * tokens), "norm.weight": torch.ones(width),
        "norm.bias": torch.zeros(width),
    }  # fmt: skip
    return {"image_proj": proj, "ip_adapter": dict(layers)}


def flux_ip_adapter() -> Any:
    pipe = flows.flux()
    names = [f"{layer}.to_{x}_ip" for layer in range(2) for x in ("k", "v")]
    layers = {f"{name}.weight": torch.randn(32, 32) / 32**0.5 for name in names} | {f"{name}.bias": torch.zeros(32) for name in names}
    pipe.transformer._load_ip_adapter_weights([projected(32, 4, layers)])
    pipe.set_ip_adapter_scale(0.7)
    return pipe


def sd3_ip_adapter() -> Any:
    """Its resampler fuses projections of its own."""
    pipe = flows.sd3()
    layers = {}
    for i in range(len(pipe.transformer.attn_processors)):
        made = SD3IPAdapterJointAttnProcessor2_0(hidden_size=16, ip_hidden_states_dim=16, head_dim=8, timesteps_emb_dim=64)
        layers |= {f"{i}.{name}": weight for name, weight in made.state_dict().items()}
    proj = IPAdapterTimeImageProjection(embed_dim=12, output_dim=16, hidden_dim=64, depth=4, dim_head=64, heads=1, num_queries=4).state_dict()
    pipe.transformer._load_ip_adapter_weights({"image_proj": proj, "ip_adapter": layers})
    pipe.set_ip_adapter_scale(0.7)
    return pipe


def fused(make: zoo.Make) -> Any:
    pipe = make()
    pipe.transformer.fuse_qkv_projections()
    return pipe


class Reader:
    """In the place of Qwen2.5-VL's processor: a picture is five tokens of the text."""

    def __call__(self, text: list[str], images: Any, **settings: Any) -> Any:
        read = [one.replace("<|image_pad|>", "<|im_start|>" * 5) for one in text]
        return readers.chat_tokenizer()(read, padding=True, return_tensors="pt")


class Seeing(Qwen3Model):
    """Takes the pictures that it does not look at."""

    def forward(self, *args: Any, pixel_values: Any = None, image_grid_thw: Any = None, **kwargs: Any) -> Any:
        return super().forward(*args, **kwargs)


def qwen_edit(kind: type) -> Any:
    return flows.qwen_image(kind, processor=Reader(), text_encoder=readers.language_model(Seeing, Qwen3Config))


PAINTED = dict(image=flows.PICTURE, **SOME)
INPAINTED = dict(**MASKED, **SOME)
LAYER = dict(pag_applied_layers=["transformer_blocks.1"])
QWEN = dict(negative_prompt="a dog", true_cfg_scale=3.0)
Z = dict(max_sequence_length=64, guidance_scale=2.0)
KLEIN = dict(text_encoder_out_layers=(1, 2), max_sequence_length=64)
SANA = dict(complex_human_instruction=["Say what is seen.", "Prompt: "], **AS_IS, **T5)


def square(make: zoo.Make, **kwargs: Any) -> zoo.Case:
    return case(make, **{**flows.SQUARE, **kwargs})


def of(make: Any, kind: type, **parts: Any) -> zoo.Make:
    return functools.partial(make, kind, **parts)


TRANSFORMERS: dict[str, zoo.Case] = {
    "StableDiffusion3ControlNetInpaintingPipeline": square(
        controlled(flows.sd3, sd3_controlnet, d.StableDiffusion3ControlNetInpaintingPipeline), **CONTROLLED, control_mask=flows.MASK, **T5,
    ),
    # SD3's form: diffusers' processors of perturbed attention leave out the norms of SD3.5's.
    "StableDiffusion3PAGPipeline": square(of(flows.sd3, d.StableDiffusion3PAGPipeline, half=False, **LAYER), **PAG, **T5),
    "StableDiffusion3PAGImg2ImgPipeline": square(of(flows.sd3, d.StableDiffusion3PAGImg2ImgPipeline, **LAYER), **PAG, **PAINTED, **T5),
    "StableDiffusion3Pipeline with an IP-Adapter": square(sd3_ip_adapter, ip_adapter_image_embeds=zoo.noise(2, 5, 12), **T5),
    "FluxPipeline with an IP-Adapter": square(
        flux_ip_adapter, ip_adapter_image_embeds=[zoo.noise(1, 1, 12)], negative_ip_adapter_image_embeds=[zoo.noise(1, 1, 12, seed=3)], **T5,
    ),
    "FluxPipeline with fused projections": square(lambda: fused(flows.flux), **T5),
    # Of the masked image and the mask there are further channels.
    "FluxFillPipeline": square(of(flows.flux, d.FluxFillPipeline, channels=96), **MASKED, **T5),
    "FluxControlImg2ImgPipeline": square(of(flows.flux, d.FluxControlImg2ImgPipeline, channels=32), **CONTROLLED, **PAINTED, **T5),
    "FluxControlInpaintPipeline": square(of(flows.flux, d.FluxControlInpaintPipeline, channels=32), **CONTROLLED, **INPAINTED, **T5),
    "FluxControlNetImg2ImgPipeline": square(controlled(flows.flux, flux_controlnet, d.FluxControlNetImg2ImgPipeline), **CONTROLLED, **PAINTED, **T5),
    "FluxControlNetInpaintPipeline": square(
        controlled(flows.flux, flux_controlnet, d.FluxControlNetInpaintPipeline), **CONTROLLED, **INPAINTED, **T5,
    ),
    "FluxKontextInpaintPipeline": square(of(flows.flux, d.FluxKontextInpaintPipeline), **INPAINTED, max_area=64 * 64, _auto_resize=False, **T5),
    # The tokens of the pictures lie behind those of the latents.
    "Flux2Pipeline with pictures": square(
        of(flows.flux2, d.Flux2Pipeline), image=PICTURE, text_encoder_out_layers=(1, 2), max_sequence_length=512,
    ),
    "Flux2KleinPipeline with pictures": square(flows.flux2, image=PICTURE, **KLEIN),
    "Flux2KleinInpaintPipeline": square(of(flows.flux2, d.Flux2KleinInpaintPipeline), **INPAINTED, **KLEIN),
    # Its prompts are JSON; pictures' tokens lie behind those of the latents.
    "BriaFiboEditPipeline": replace(
        square(lambda: tiny.quiet(d.BriaFiboEditPipeline(**flows.fibo().components)), image=PICTURE, negative_prompt="a dog"),
        prompt=f'{{"edit_instruction": "{tiny.PROMPT}"}}',
    ),
    "Flux2KleinKVPipeline": square(of(flows.flux2, d.Flux2KleinKVPipeline), **KLEIN),
    "PixArtSigmaPAGPipeline": square(of(flows.pixart, d.PixArtSigmaPAGPipeline, **LAYER), **PAG, **AS_IS, **T5),
    "HunyuanDiTPAGPipeline": square(
        of(flows.hunyuan_dit, d.HunyuanDiTPAGPipeline, pag_applied_layers=["blocks.1"]), **PAG, use_resolution_binning=False,
    ),
    "SanaPAGPipeline": square(of(flows.sana, d.SanaPAGPipeline, **LAYER), **PAG, **SANA),
    "SanaControlNetPipeline": square(controlled(flows.sana, sana_controlnet, d.SanaControlNetPipeline), **CONTROLLED, **SANA),
    "SanaSprintPipeline": square(of(sana_sprint, d.SanaSprintPipeline), intermediate_timesteps=None, **SANA),
    "SanaSprintImg2ImgPipeline": square(of(sana_sprint, d.SanaSprintImg2ImgPipeline), intermediate_timesteps=None, **PAINTED, **SANA),
    "ZImageControlNetPipeline": square(
        controlled(flows.z_image, lambda: z_controlnet(4), d.ZImageControlNetPipeline), **CONTROLLED, **Z,
    ),
    "ZImageControlNetInpaintPipeline": square(
        controlled(flows.z_image, lambda: z_controlnet(9), d.ZImageControlNetInpaintPipeline), **CONTROLLED, **MASKED, **Z,
    ),
    "ZImageInpaintPipeline": square(of(flows.z_image, d.ZImageInpaintPipeline), **INPAINTED, **Z),
    "QwenImageControlNetPipeline": square(controlled(flows.qwen_image, qwen_controlnet, d.QwenImageControlNetPipeline), **CONTROLLED, **QWEN),
    "QwenImageControlNetInpaintPipeline": square(
        controlled(flows.qwen_image, lambda: qwen_controlnet(4), d.QwenImageControlNetInpaintPipeline), **CONTROLLED, control_mask=flows.MASK, **QWEN,
    ),
    "QwenImageEditPipeline": square(of(qwen_edit, d.QwenImageEditPipeline), image=PICTURE, **QWEN),
    "QwenImageEditPlusPipeline": square(of(qwen_edit, d.QwenImageEditPlusPipeline), image=[PICTURE, PICTURE], **QWEN),
    "QwenImageEditInpaintPipeline": square(
        of(qwen_edit, d.QwenImageEditInpaintPipeline), image=PICTURE, mask_image=flows.MASK, **SOME, **QWEN,
    ),
    "QwenImageInpaintPipeline": square(of(flows.qwen_image, d.QwenImageInpaintPipeline), **INPAINTED, **QWEN),
}  # fmt: skip

CASES: Mapping[str, zoo.Case] = {**UNETS, **TRANSFORMERS}
