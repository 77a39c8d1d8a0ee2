"""Every kind of pipeline that DyMO is asked to steer (`CASES`) or to refuse (`REFUSED`), tiny, random, offline, of diffusers' real classes.

The remarks beside the cases are what matters to a method that steers the denoising loop from outside. They hold for diffusers 0.42,
where each pipeline of `CASES` keeps its loop in `__call__` and writes it `for i, t in enumerate(timesteps)`. Before it, `timesteps`
may be sliced (img2img, `denoising_end`), compared with a number (`denoising_start`), filtered element by element (`denoising_end`),
and its first element repeated as a tensor (img2img): it has to stay a tensor until the loop starts.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import tiny
import torch
from diffusers import (
    AnimateDiffPipeline,
    AutoencoderKLTemporalDecoder,
    DDIMParallelScheduler,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DiffusionPipeline,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    MotionAdapter,
    MultiControlNetModel,
    PyramidAttentionBroadcastConfig,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionAdapterPipeline,
    StableDiffusionAttendAndExcitePipeline,
    StableDiffusionControlNetImg2ImgPipeline,
    StableDiffusionControlNetInpaintPipeline,
    StableDiffusionControlNetPAGPipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionLatentUpscalePipeline,
    StableDiffusionLDM3DPipeline,
    StableDiffusionPAGPipeline,
    StableDiffusionPanoramaPipeline,
    StableDiffusionSAGPipeline,
    StableDiffusionXLAdapterPipeline,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLInstructPix2PixPipeline,
    StableDiffusionXLPAGPipeline,
    StableVideoDiffusionPipeline,
    T2IAdapter,
    TextToVideoSDPipeline,
    UNet2DModel,
    UNet3DConditionModel,
    UNetSpatioTemporalConditionModel,
    apply_pyramid_attention_broadcast,
)
from diffusers.callbacks import SDCFGCutoffCallback, SDXLCFGCutoffCallback, SDXLControlnetCFGCutoffCallback

# Not by diffusers' own names: without sentencepiece, which nothing here needs, these stand for nothing.
from diffusers.pipelines.kolors.pipeline_kolors import KolorsPipeline
from diffusers.pipelines.kolors.pipeline_kolors_img2img import KolorsImg2ImgPipeline
from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig, ChatGLMModel
from diffusers.pipelines.kolors.tokenizer import ChatGLMTokenizer
from tiny import PROMPT
from transformers import (
    CLIPImageProcessor,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from dymo.pipelines.images import with_images

Make = Callable[[], DiffusionPipeline]

SIZE, STEPS = 32, 2
THREE, FOUR = dict(num_inference_steps=3), dict(num_inference_steps=4)  # of which the call takes two
PLAIN = ("uncond", "cond")
ALONE = ("cond",)


@dataclass(frozen=True)
class Case:
    """A pipeline and a call of it.

    rows: what the UNet's batch consists of, in order, each row `samples` long (row-major: all samples of a row lie together).
    calls: how often a plain call runs the UNet. cutoff: diffusers' own callback that ends classifier-free guidance here, or None
    where none of them works, or where there is no such guidance to end.
    """

    make: Make
    kwargs: dict[str, Any] = field(default_factory=dict)
    prompt: str | list[str] = PROMPT
    samples: int = 1
    rows: tuple[str, ...] = PLAIN
    calls: int = STEPS
    cutoff: type | None = None

    def run(self, pipe: DiffusionPipeline, seed: int = 0, **more: Any) -> torch.Tensor:
        """The plain call's images, (samples, 3, 32, 32) in [0, 1], or its latents (samples, 4, 8, 8)."""
        kwargs = {**self.kwargs, "generator": torch.Generator().manual_seed(seed), **more}
        return with_images(pipe(prompt=self.prompt, **kwargs)).images


def seeded(make: Make) -> Make:
    """The same weights each time, whatever was drawn before, and nothing drawn from the caller's generator."""

    @functools.wraps(make)
    def made() -> DiffusionPipeline:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return make()

    return made


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


IMAGE, CONTROL = noise(1, 3, SIZE, SIZE, seed=1), noise(1, 3, SIZE, SIZE, seed=2)
MASK = torch.zeros(1, 1, SIZE, SIZE)
MASK[..., : SIZE // 2] = 1  # 1 is renewed, 0 is kept
SQUARE = dict(height=SIZE, width=SIZE)


def vae(**changes):
    """32 px are 8 x 8 latents: the UNet's maps are of 8 and 4."""
    return tiny.vae((4, 8, 8), layers_per_block=1, **changes)


XL = dict(
    cross_attention_dim=64, addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=80,
)  # fmt: skip


def unet_xl(**changes):
    return tiny.unet_xl(**{"transformer_layers_per_block": (1, 2), **changes})


def sd(*args, **parts):
    return tiny.sd(*args, **{"vae": vae(), **parts})


def sdxl(*args, **parts):
    return tiny.sdxl(*args, **{"unet": unet_xl(), "vae": vae(), **parts})


def controlnet(seed: int = 1, **changes):
    return tiny.controlnet(seed, conditioning_embedding_out_channels=(4, 8, 8), **changes)


def controlnet_xl():
    return controlnet(**XL)


def adapter():
    return T2IAdapter(channels=[8, 16], num_res_blocks=1, downscale_factor=4, adapter_type="full_adapter").eval()


def image_encoder():
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, image_size=SIZE, patch_size=16, projection_dim=12,
        )
    ).eval()  # fmt: skip


def ip_adapter(pipe, tokens: int = 4, count: int = 1):
    """Loads `count` times an IP-Adapter of random weights in the original's layout: keys are numbered over all attention layers, 1, 3, 5 ..."""
    unet, width = pipe.unet, pipe.unet.config.cross_attention_dim
    layers, weights = 0, {}
    for name, module in unet.named_modules():
        if name.endswith("attn2"):
            for projection in ("to_k_ip", "to_v_ip"):
                weights[f"{2 * layers + 1}.{projection}.weight"] = (
                    torch.randn(module.to_k.out_features, width) / width**0.5
                )
            layers += 1
    clip = pipe.image_encoder.config.projection_dim
    proj = {
        "proj.weight": torch.randn(tokens * width, clip), "proj.bias": torch.zeros(tokens * width),
        "norm.weight": torch.ones(width), "norm.bias": torch.zeros(width),
    }  # fmt: skip
    several = [{"image_proj": proj, "ip_adapter": weights}] * count
    pipe.load_ip_adapter(several, subfolder=[None] * count, weight_name=[None] * count)
    return pipe


def sd_ip_adapter():
    return ip_adapter(sd(image_encoder=image_encoder()))


def sdxl_ip_adapter():
    return ip_adapter(sdxl(image_encoder=image_encoder()))


def sd_clip_sample():
    """The pipeline's constructor sets `clip_sample` to False with a warning: it stays on in a scheduler put in afterwards."""
    pipe = sd()
    pipe.scheduler = tiny.scheduler(clip_sample=True, clip_sample_range=2.0)
    return pipe


def sd_clip_skip():
    """diffusers 0.42 asks for `text_encoder.text_model.final_layer_norm`, and CLIPTextModel of transformers 5 is its own `text_model`."""
    encoder = tiny.text_model(layers=3)
    if not hasattr(encoder, "text_model"):
        object.__setattr__(encoder, "text_model", encoder)  # not as a submodule: it would contain itself
    return sd(text_encoder=encoder)


def sd_lora():
    return tiny.sd_lora(vae=vae())


def sd_textual_inversion():
    """One placeholder of three vectors: the pipeline rewrites it to `<toy> <toy>_1 <toy>_2` before it tokenises."""
    pipe = sd(tokenizer=tiny.tokenizer.__wrapped__())  # a tokenizer of its own: loading adds tokens to it
    pipe.load_textual_inversion({"<toy>": torch.randn(3, 32)})
    return pipe


def sdxl_refiner():
    return sdxl(
        StableDiffusionXLImg2ImgPipeline, tokenizer=None, text_encoder=None, requires_aesthetics_score=True,
        unet=unet_xl(cross_attention_dim=32, projection_class_embeddings_input_dim=72),
    )  # fmt: skip


class Pieces:
    """In the place of the `SPTokenizer` that reads ChatGLM's file: letters and a few words, by the same methods."""

    def __init__(self) -> None:
        words = ["▁a", "▁red", "▁apple", "▁and", "▁green", "▁car", "sop"]
        self.pieces = ["<unk>", "<s>", "</s>", *words, "▁", *(chr(c) for c in range(33, 127))]
        self.pad_id, self.bos_id, self.eos_id = 0, 1, 2
        names = ("[MASK]", "[gMASK]", "[sMASK]", "sop", "eop", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")
        self.special_tokens = {name: len(self.pieces) + i for i, name in enumerate(names)}
        self.n_words = len(self.pieces) + len(names)
        self._piece = re.compile("|".join(map(re.escape, sorted(self.pieces[3:], key=len, reverse=True))))

    def tokenize(self, text: str, encode_special_tokens: bool = False) -> list[str]:
        return self._piece.findall("▁" + text.replace(" ", "▁")) if text else []

    def decode_tokens(self, tokens: list[str]) -> str:
        return "".join(tokens).replace("▁", " ").removeprefix(" ")

    def convert_token_to_id(self, token: str) -> int:
        return self.special_tokens[token] if token in self.special_tokens else self.pieces.index(token)

    def convert_id_to_token(self, index: int) -> str:
        return [*self.pieces, *self.special_tokens][index]


class TinyGLMTokenizer(ChatGLMTokenizer):
    """ChatGLM's tokenizer, with its own special tokens and its filling up in front, over other pieces."""

    def __init__(self) -> None:
        with mock.patch("diffusers.pipelines.kolors.tokenizer.SPTokenizer", lambda path: Pieces()):
            super().__init__("")


def kolors(kind: type = KolorsPipeline, **parts: Any):
    """256 tokens of ChatGLM, as its last layer but one has them; the last one's of the last token is added to the timestep's."""
    reader = ChatGLMModel(
        ChatGLMConfig(
            num_layers=2, padded_vocab_size=Pieces().n_words, hidden_size=16, ffn_hidden_size=24, kv_channels=8, num_attention_heads=2,
            seq_length=256, original_rope=True, use_cache=False,
        )
    ).eval()  # fmt: skip
    for parameter in reader.parameters():  # made without values
        torch.nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.2)
    net = unet_xl(encoder_hid_dim=16, encoder_hid_dim_type="text_proj", projection_class_embeddings_input_dim=64)
    parts = {
        "unet": net, "vae": vae(), "text_encoder": reader, "tokenizer": TinyGLMTokenizer(),
        "scheduler": tiny.scheduler(EulerDiscreteScheduler), **parts,
    }  # fmt: skip
    return tiny.quiet(kind(**parts))


class DDIMByAnotherName(DDIMScheduler):
    """A subclass of a known solver that changes nothing."""


def case(make: Make, *, cutoff: type | None = None, **changes: Any) -> Case:
    fields = {name: changes.pop(name) for name in ("prompt", "samples", "rows", "calls") if name in changes}
    return Case(seeded(make), {"num_inference_steps": STEPS, "output_type": "pt", **changes}, cutoff=cutoff, **fields)


# Unless said otherwise, a pipeline has `do_classifier_free_guidance`, `interrupt`, `num_timesteps`, `callback_on_step_end`, and two guidance
# rows (uncond, cond). SDCFGCutoffCallback and its SDXL kin keep one row of embeddings, `[-1:]`: they serve one sample only.
CASES: dict[str, Case] = {
    # -- Stable Diffusion: solvers and parametrisations ---------------------------------------------------------------------------
    "sd-ddim": case(sd, cutoff=SDCFGCutoffCallback, **SQUARE),
    "sd-ddpm": case(lambda: sd(scheduler_kind=DDPMScheduler), cutoff=SDCFGCutoffCallback, **SQUARE),
    # Euler counts: `step` reads `step_index` and moves it on, `scale_model_input` sets it on the first call of a run.
    "sd-euler": case(lambda: sd(scheduler_kind=EulerDiscreteScheduler), cutoff=SDCFGCutoffCallback, **SQUARE),
    "sd-euler-ancestral": case(
        lambda: sd(scheduler_kind=EulerAncestralDiscreteScheduler), cutoff=SDCFGCutoffCallback, **SQUARE
    ),
    "sd-ddim-subclass": case(lambda: sd(scheduler_kind=DDIMByAnotherName), cutoff=SDCFGCutoffCallback, **SQUARE),
    "sd-ddim-parallel": case(lambda: sd(scheduler_kind=DDIMParallelScheduler), cutoff=SDCFGCutoffCallback, **SQUARE),
    "sd-v": case(
        lambda: sd(scheduler=tiny.scheduler(prediction_type="v_prediction")), cutoff=SDCFGCutoffCallback, **SQUARE
    ),
    # The first timestep is 999 with alpha_bar = 0: x0 = -v there, and whatever divides by sqrt(alpha_bar) is not finite.
    "sd-zero-snr": case(
        lambda: sd(
            scheduler=tiny.scheduler(
                prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing"
            )
        ),
        cutoff=SDCFGCutoffCallback, **SQUARE,
    ),
    "sd-clip-sample": case(sd_clip_sample, cutoff=SDCFGCutoffCallback, **SQUARE),
    # -- Stable Diffusion: arguments of the call ----------------------------------------------------------------------------------
    # The rescaling comes after the guidance: its factor is a ratio of standard deviations of each sample, and depends on the latents.
    "sd-guidance-rescale": case(sd, cutoff=SDCFGCutoffCallback, guidance_rescale=0.7, **SQUARE),
    "sd-clip-skip": case(sd_clip_skip, cutoff=SDCFGCutoffCallback, clip_skip=1, **SQUARE),
    # `do_classifier_free_guidance` is `guidance_scale > 1`: at 1 there is one row, and no weight on it.
    "sd-no-guidance": case(sd, rows=ALONE, guidance_scale=1.0, **SQUARE),
    # `step` takes eta and the generator only where its signature has them: pipelines look with `inspect.signature`.
    "sd-eta": case(sd, cutoff=SDCFGCutoffCallback, eta=1.0, **SQUARE),
    "sd-two-prompts": case(sd, prompt=[PROMPT, "a red car"], samples=2, **SQUARE),
    "sd-two-images": case(sd, samples=2, num_images_per_prompt=2, **SQUARE),
    # Guidance is an input of the UNet (`timestep_cond`), so `do_classifier_free_guidance` is false at any scale: one row.
    "sd-guidance-embedding": case(lambda: sd(unet=tiny.unet(time_cond_proj_dim=8)), rows=ALONE, **SQUARE),
    # -- Stable Diffusion: other ways in ------------------------------------------------------------------------------------------
    # `get_timesteps` slices `scheduler.timesteps[t_start * scheduler.order :]` and calls `set_begin_index(t_start * order)`.
    "sd-img2img": case(
        lambda: sd(StableDiffusionImg2ImgPipeline), **THREE, cutoff=SDCFGCutoffCallback, image=IMAGE, strength=0.75
    ),
    "sd-img2img-euler": case(
        lambda: sd(StableDiffusionImg2ImgPipeline, EulerDiscreteScheduler), **THREE, cutoff=SDCFGCutoffCallback,
        image=IMAGE, strength=0.75,
    ),
    # 4 channels: after `step`, the loop itself noises the known region for `timesteps[i + 1]` (`add_noise`, none after the last step) and
    # blends it in by the mask, so what `step` returned is not what the next step is given. Euler's `add_noise` takes the noise level at
    # `step_index`, once that is set, and not at the timestep that it is given. With SDCFGCutoffCallback the mask keeps both rows, the
    # blend doubles the latents, and the UNet is given two for one row of embeddings: an error of sizes.
    "sd-inpaint": case(lambda: sd(StableDiffusionInpaintPipeline), image=IMAGE, mask_image=MASK, **SQUARE),
    "sd-inpaint-euler": case(
        lambda: sd(StableDiffusionInpaintPipeline, EulerDiscreteScheduler), image=IMAGE, mask_image=MASK, **SQUARE
    ),
    "sd-inpaint-two-images": case(
        lambda: sd(StableDiffusionInpaintPipeline), samples=2, image=IMAGE, mask_image=MASK, num_images_per_prompt=2, **SQUARE
    ),
    # 9 channels: [latents, mask, masked image] enter the UNet, and nothing is done to the latents after `step`. The cutoff's one row
    # meets a mask of two: an error of sizes.
    "sd-inpaint-9": case(
        lambda: sd(StableDiffusionInpaintPipeline, unet=tiny.unet(in_channels=9)), image=IMAGE, mask_image=MASK, **SQUARE
    ),
    # -- ControlNet ---------------------------------------------------------------------------------------------------------------
    # `controlnet_keep[i]`, a list over `len(timesteps)` made before the loop, says whether the net is heard at the loop's own index i.
    # SDCFGCutoffCallback leaves the control image at two rows: an error of sizes.
    "sd-controlnet": case(
        lambda: sd(StableDiffusionControlNetPipeline, controlnet=controlnet()), image=CONTROL, control_guidance_end=0.5, **SQUARE
    ),
    # In guess mode the net sees the conditional row alone (and so serves the callback): `scale_model_input` is called twice in a step,
    # the second time with one row.
    "sd-controlnet-guess": case(
        lambda: sd(StableDiffusionControlNetPipeline, controlnet=controlnet()), cutoff=SDCFGCutoffCallback, image=CONTROL,
        guess_mode=True, **SQUARE,
    ),
    "sd-controlnet-guess-two-images": case(
        lambda: sd(StableDiffusionControlNetPipeline, controlnet=controlnet()), samples=2, image=CONTROL, guess_mode=True,
        num_images_per_prompt=2, **SQUARE,
    ),
    "sd-controlnet-img2img": case(
        lambda: sd(StableDiffusionControlNetImg2ImgPipeline, controlnet=controlnet()), **THREE, image=IMAGE,
        control_image=CONTROL, strength=0.75,
    ),
    # The blend of the 4-channel inpainting, and the net.
    "sd-controlnet-inpaint": case(
        lambda: sd(StableDiffusionControlNetInpaintPipeline, controlnet=controlnet()), image=IMAGE, mask_image=MASK,
        control_image=CONTROL, **SQUARE,
    ),
    # A list of nets becomes a MultiControlNetModel; `controlnet_keep[i]` is a list then, one number a net.
    "sd-controlnet-two": case(
        lambda: sd(StableDiffusionControlNetPipeline, controlnet=MultiControlNetModel([controlnet(1), controlnet(2)])),
        image=[CONTROL, IMAGE], controlnet_conditioning_scale=[0.7, 0.4], control_guidance_start=[0.0, 0.5], **SQUARE,
    ),
    # -- T2I-Adapter --------------------------------------------------------------------------------------------------------------
    # No `interrupt`, no `num_timesteps`, no `callback_on_step_end`: the old `callback` only. The guidance scale is a local of
    # `__call__` on SD. SD has no `adapter_conditioning_factor`: the adapter is added at every step. Its images go through the deprecated
    # `decode_latents` and come as arrays (B, H, W, 3) for every `output_type` but "latent" and "pil".
    "sd-adapter": case(
        lambda: sd(StableDiffusionAdapterPipeline, adapter=adapter()), image=CONTROL, output_type="latent", **SQUARE
    ),
    # SDXL adds it while `i < int(num_inference_steps * adapter_conditioning_factor)`, i being the loop's own index.
    "sdxl-adapter-half": case(
        lambda: sdxl(StableDiffusionXLAdapterPipeline, adapter=adapter()), image=CONTROL, adapter_conditioning_factor=0.5, **SQUARE
    ),
    "sdxl-adapter": case(
        lambda: sdxl(StableDiffusionXLAdapterPipeline, adapter=adapter()), image=CONTROL, adapter_conditioning_factor=1.0, **SQUARE
    ),
    # -- IP-Adapter, LoRA, textual inversion --------------------------------------------------------------------------------------
    # The processors of `attn2` carry weights (`to_k_ip`, `to_v_ip`), so they must stay. The image's tokens are not in
    # `encoder_hidden_states` at the UNet's door, but the UNet makes a tuple (text, [image tokens]) of it for its attention.
    "sd-ip-adapter": case(sd_ip_adapter, cutoff=SDCFGCutoffCallback, ip_adapter_image=IMAGE, **SQUARE),
    # Embeddings that the user made: negative and positive joined along the batch, one tensor an adapter.
    "sd-ip-adapter-embeds": case(
        sd_ip_adapter, cutoff=SDCFGCutoffCallback, ip_adapter_image_embeds=[noise(2, 1, 12)], **SQUARE
    ),
    "sdxl-ip-adapter": case(sdxl_ip_adapter, cutoff=SDXLCFGCutoffCallback, ip_adapter_image=IMAGE, **SQUARE),
    "sd-lora": case(sd_lora, cutoff=SDCFGCutoffCallback, **SQUARE),
    # The tokens of the prompt are those of `maybe_convert_prompt(prompt, tokenizer)`: "<toy>" alone would be one token, not three.
    "sd-textual-inversion": case(
        sd_textual_inversion, cutoff=SDCFGCutoffCallback, prompt="a red <toy> and a green car", **SQUARE
    ),
    # -- InstructPix2Pix ----------------------------------------------------------------------------------------------------------
    # Three rows (text, image, none): the first has the prompt and the image, the second the image, the third neither. Guidance needs both
    # `guidance_scale > 1` and `image_guidance_scale >= 1`. No `interrupt`. The prompt's weight is guidance_scale, as elsewhere.
    # SDCFGCutoffCallback keeps the row `[-1:]`, which is the empty prompt here, and fails at the image latents, which stay three.
    "sd-pix2pix": case(
        lambda: sd(StableDiffusionInstructPix2PixPipeline, unet=tiny.unet(in_channels=8)), rows=("cond", "image", "uncond"),
        image=IMAGE, image_guidance_scale=1.5,
    ),
    "sd-pix2pix-two-images": case(
        lambda: sd(StableDiffusionInstructPix2PixPipeline, unet=tiny.unet(in_channels=8)), rows=("cond", "image", "uncond"), samples=2,
        image=IMAGE.repeat(2, 1, 1, 1), image_guidance_scale=1.5, num_images_per_prompt=2,
    ),
    # SDXL's has no `do_classifier_free_guidance` (a local of `__call__`), no `num_timesteps`, no `callback_on_step_end`.
    "sdxl-pix2pix": case(
        lambda: sdxl(StableDiffusionXLInstructPix2PixPipeline, unet=unet_xl(in_channels=8)), rows=("cond", "image", "uncond"),
        image=IMAGE, image_guidance_scale=1.5, **SQUARE,
    ),
    # -- Perturbed attention guidance ---------------------------------------------------------------------------------------------
    # Three rows (uncond, cond, perturbed), two without guidance (cond, perturbed). `__call__` puts its processors on the self-attention
    # before the loop, which chunk the batch in three, and takes them off at its end only: an exception in the loop leaves them there.
    # The latents are repeated `prompt_embeds.shape[0] // latents.shape[0]` times. The cutoff callbacks' one row fails in `chunk`.
    "sd-pag": case(
        lambda: sd(StableDiffusionPAGPipeline, pag_applied_layers="mid"), rows=("uncond", "cond", "perturbed"), pag_scale=3.0, **SQUARE
    ),
    "sd-pag-two-images": case(
        lambda: sd(StableDiffusionPAGPipeline, pag_applied_layers="mid"), rows=("uncond", "cond", "perturbed"), samples=2, pag_scale=3.0,
        num_images_per_prompt=2, **SQUARE,
    ),
    "sd-pag-no-guidance": case(
        lambda: sd(StableDiffusionPAGPipeline, pag_applied_layers="mid"), rows=("cond", "perturbed"), pag_scale=3.0, guidance_scale=1.0,
        **SQUARE,
    ),
    # No `interrupt` here.
    "sd-pag-controlnet": case(
        lambda: sd(StableDiffusionControlNetPAGPipeline, controlnet=controlnet(), pag_applied_layers="mid"),
        rows=("uncond", "cond", "perturbed"), image=CONTROL, pag_scale=3.0, **SQUARE,
    ),
    "sdxl-pag": case(
        lambda: sdxl(StableDiffusionXLPAGPipeline, pag_applied_layers="mid"), rows=("uncond", "cond", "perturbed"), pag_scale=3.0, **SQUARE
    ),
    # -- SDXL ---------------------------------------------------------------------------------------------------------------------
    "sdxl": case(sdxl, cutoff=SDXLCFGCutoffCallback, **SQUARE),
    "sdxl-euler": case(
        lambda: sdxl(scheduler=tiny.scheduler(EulerDiscreteScheduler)), cutoff=SDXLCFGCutoffCallback, **SQUARE
    ),
    "sdxl-two-prompts": case(sdxl, prompt=[PROMPT, "a red car"], samples=2, **SQUARE),
    "sdxl-img2img": case(
        lambda: sdxl(StableDiffusionXLImg2ImgPipeline), **THREE, cutoff=SDXLCFGCutoffCallback, image=IMAGE, strength=0.75
    ),
    # The second half of a split run: takes the latents of the first, noises nothing, and counts `scheduler.timesteps < 500`.
    "sdxl-img2img-denoising-start": case(
        lambda: sdxl(StableDiffusionXLImg2ImgPipeline), **FOUR, cutoff=SDXLCFGCutoffCallback,
        image=noise(1, 4, SIZE // 4, SIZE // 4), denoising_start=0.5,
    ),
    # The default strength is .9999: int(3 * .9999) = 2 steps of 3. The blend of the 4-channel inpainting, as on SD.
    "sdxl-inpaint": case(
        lambda: sdxl(StableDiffusionXLInpaintPipeline), **THREE, image=IMAGE, mask_image=MASK, strength=0.9999, **SQUARE
    ),
    "sdxl-controlnet": case(
        lambda: sdxl(StableDiffusionXLControlNetPipeline, controlnet=controlnet_xl()), cutoff=SDXLControlnetCFGCutoffCallback,
        image=CONTROL, **SQUARE,
    ),
    # One tokenizer and one text encoder, the second: `pipe.tokenizer` is None. Five time ids (aesthetic score) for six.
    "sdxl-refiner": case(sdxl_refiner, **THREE, cutoff=SDXLCFGCutoffCallback, image=IMAGE, strength=0.75),
    # The first half of a split run: `timesteps` are filtered and sliced just before the loop; the last latents are noisy (t = 501).
    "sdxl-denoising-end": case(
        sdxl, **FOUR, cutoff=SDXLCFGCutoffCallback, denoising_end=0.5, output_type="latent", **SQUARE
    ),
    # -- Kolors: SDXL's UNet, and ChatGLM's words, of which `max_sequence_length` is checked, but 256 are read whatever it is ------------
    "kolors": case(kolors, cutoff=SDXLCFGCutoffCallback, **SQUARE),
    "kolors-img2img": case(
        lambda: kolors(KolorsImg2ImgPipeline), **THREE, cutoff=SDXLCFGCutoffCallback, image=IMAGE, strength=0.75
    ),
}  # fmt: skip


# -- What has to be refused, and why ----------------------------------------------------------------------------------------------------


def animatediff():
    """UNetMotionModel; the latents are (B, 4, frames, h, w), and an image reward has no frames. The loop itself is like SD's."""
    motion = MotionAdapter(
        block_out_channels=(8, 16), motion_layers_per_block=1, motion_norm_num_groups=4, motion_num_attention_heads=2,
    )  # fmt: skip
    return tiny.quiet(
        AnimateDiffPipeline(
            vae=vae(), text_encoder=tiny.text_model(), tokenizer=tiny.tokenizer(), unet=tiny.unet(), motion_adapter=motion,
            scheduler=tiny.scheduler(),
        )
    )  # fmt: skip


def latent_upscale():
    """A denoiser of Karras' kind: its preconditioning is in the loop, the UNet's timestep is log(sigma) / 4, read at `scheduler.sigmas[i]`,
    and its attention blocks are no BasicTransformerBlocks."""
    settings = dict(
        act_fn="gelu", attention_head_dim=8, norm_num_groups=None, block_out_channels=[32, 32, 64, 64], time_cond_proj_dim=160,
        conv_in_kernel=1, conv_out_kernel=1, cross_attention_dim=32, in_channels=8, out_channels=5, mid_block_type=None,
        down_block_types=("KDownBlock2D", *["KCrossAttnDownBlock2D"] * 3), up_block_types=(*["KCrossAttnUpBlock2D"] * 3, "KUpBlock2D"),
        layers_per_block=2, resnet_time_scale_shift="scale_shift", time_embedding_type="fourier", timestep_post_act="gelu",
    )  # fmt: skip
    parts = dict(
        vae=vae(), text_encoder=tiny.text_model(), tokenizer=tiny.tokenizer(), unet=tiny.unet(**settings),
        scheduler=EulerDiscreteScheduler(prediction_type="sample"),
    )  # fmt: skip
    return tiny.quiet(StableDiffusionLatentUpscalePipeline(**parts))


def video_diffusion():
    """Stable Video Diffusion: no prompt and no text encoder; latents (B, frames, 4, h, w); guidance grows over the frames."""
    net = UNetSpatioTemporalConditionModel(
        sample_size=16, in_channels=8, out_channels=4, num_attention_heads=(2, 2), block_out_channels=(32, 32), layers_per_block=1,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"), cross_attention_dim=12,
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"), projection_class_embeddings_input_dim=24,
        addition_time_embed_dim=8,
    ).eval()  # fmt: skip
    decoder = AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D",) * 2
    ).eval()
    scheduler = EulerDiscreteScheduler(
        prediction_type="v_prediction", timestep_type="continuous", use_karras_sigmas=True
    )
    processor = CLIPImageProcessor(size=SIZE, crop_size=SIZE)
    return tiny.quiet(
        StableVideoDiffusionPipeline(
            vae=decoder, image_encoder=image_encoder(), unet=net, scheduler=scheduler, feature_extractor=processor
        )
    )


def text_to_video():
    """UNet3DConditionModel; the latents are (B, 4, frames, h, w) in the loop and (B x frames, 4, h, w) in `step`."""
    net = UNet3DConditionModel(
        sample_size=16, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, cross_attention_dim=32, attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"), up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
    ).eval()  # fmt: skip
    return tiny.quiet(
        TextToVideoSDPipeline(
            vae=vae(), text_encoder=tiny.text_model(), tokenizer=tiny.tokenizer(), unet=net, scheduler=tiny.scheduler()
        )
    )


def panorama():
    """Views of the latents are denoised one after the other, each with a state of the scheduler of its own, and their steps averaged."""
    return sd(StableDiffusionPanoramaPipeline, image_encoder=None)


def attend_and_excite():
    """The latents are moved along a gradient of the attention between the steps, by the loop itself, which opens the graph it needs."""
    return sd(StableDiffusionAttendAndExcitePipeline)


def self_attention_guidance():
    """Two passes of the UNet in each step, the second on latents blurred where the first attended, read by a processor of its own: the
    prediction is not one pass's. No `do_classifier_free_guidance`, no `callback_on_step_end`, no `interrupt`."""
    return sd(StableDiffusionSAGPipeline, image_encoder=None)


def ldm3d():
    """The loop is SD's, but the VAE decodes six channels, RGB and depth: an image reward takes three."""
    return sd(StableDiffusionLDM3DPipeline, vae=vae(in_channels=6, out_channels=6), image_encoder=None)


def layerwise_casting():
    """Weights are stored in float8 and cast in place around each module's forward pass: a backward pass finds them as float8."""
    pipe = sd()
    pipe.unet.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    return pipe


def repeated_blocks_compiled():
    """Each BasicTransformerBlock has a compiled call: hooks on the projections inside, set later, are not called."""
    pipe = sd()
    pipe.unet.compile_repeated_blocks(backend="eager")
    return pipe


def compiled():
    """`torch.compile` gives an OptimizedModule around the UNet (`_orig_mod`)."""
    pipe = sd()
    pipe.unet = torch.compile(pipe.unet, backend="eager")
    return pipe


def compiled_in_place():
    """`Module.compile` leaves the class as it is (`_compiled_call_impl`)."""
    pipe = sd()
    pipe.unet.compile(backend="eager")
    return pipe


def peft_model():
    """`get_peft_model` gives a PeftModel around the UNet, whose keyword arguments hide those of the UNet's forward."""
    from peft import LoraConfig, get_peft_model

    pipe = sd()
    pipe.unet = get_peft_model(pipe.unet, LoraConfig(r=2, target_modules=["to_q", "to_k"], init_lora_weights=False))
    return pipe


def inference_tensors():
    """Parameters made under inference_mode can never be part of a graph: autograd cannot save them for a backward pass."""
    with torch.inference_mode():
        return sd()


def fused_projections():
    """`to_q`, `to_k`, `to_v` of self-attention are one matrix, `to_k`, `to_v` of cross-attention another."""
    pipe = sd()
    pipe.fuse_qkv_projections(vae=False)
    return pipe


def cache_hooks():
    """Pyramid attention broadcast: an attention's output is kept for some calls of the UNet, so a gradient would be that of another call.
    UNet2DConditionModel is no CacheMixin (no `is_cache_enabled`); the trace of it is a HookRegistry `_diffusers_hook` on each attention."""
    pipe = sd()
    settings = PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=2, cross_attention_block_skip_range=2, current_timestep_callback=lambda: 500
    )
    apply_pyramid_attention_broadcast(pipe.unet, settings)
    return pipe


def unconditional():
    """Pixels of a UNet2DModel: no prompt, no VAE, no cross-attention; the loop is `for t in progress_bar(scheduler.timesteps)`."""
    net = UNet2DModel(
        sample_size=16, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    ).eval()  # fmt: skip
    return tiny.quiet(DDPMPipeline(unet=net, scheduler=DDPMScheduler()))


REFUSED: dict[str, Make] = {
    "animatediff": seeded(animatediff),
    "latent-upscale": seeded(latent_upscale),
    "video-diffusion": seeded(video_diffusion),
    "text-to-video": seeded(text_to_video),
    "panorama": seeded(panorama),
    "attend-and-excite": seeded(attend_and_excite),
    "self-attention-guidance": seeded(self_attention_guidance),
    "ldm3d": seeded(ldm3d),
    "layerwise-casting": seeded(layerwise_casting),
    "compile-repeated-blocks": seeded(repeated_blocks_compiled),
    "compiled": seeded(compiled),
    "compiled-in-place": seeded(compiled_in_place),
    "peft-model": seeded(peft_model),
    "inference-tensors": seeded(inference_tensors),
    "fused-projections": seeded(fused_projections),
    "cache-hooks": seeded(cache_hooks),
    "unconditional": seeded(unconditional),
}


# What an engine may steer or refuse, so long as what it says is true.
OPEN: dict[str, Case] = {
    # `step` of LCMScheduler returns (noised latents, x0), and the pipeline decodes the last x0 and not the last latents: noise is drawn
    # anew from x0 at each step, and there is no state across steps but the step's index. One row: guidance is an embedding.
    "lcm": case(
        lambda: sd(
            LatentConsistencyModelPipeline, unet=tiny.unet(time_cond_proj_dim=8), scheduler=tiny.scheduler(LCMScheduler),
            image_encoder=None,
        ),
        rows=ALONE, **SQUARE,
    ),
}  # fmt: skip


def sd3():
    """Without T5: 48 tokens of CLIP, padded with zeros to 64 channels, and 256 tokens of zeros in T5's place."""
    net = SD3Transformer2DModel(
        sample_size=16, patch_size=1, in_channels=4, out_channels=4, num_layers=2, attention_head_dim=8, num_attention_heads=2,
        caption_projection_dim=16, joint_attention_dim=64, pooled_projection_dim=64, pos_embed_max_size=24,
    ).eval()  # fmt: skip
    encoders = {f"text_encoder{number}": tiny.text_model(CLIPTextModelWithProjection) for number in ("", "_2")}
    tokenizers = {f"tokenizer{number}": tiny.tokenizer() for number in ("", "_2")}
    decoder = vae(shift_factor=0.0, use_quant_conv=False, use_post_quant_conv=False)
    return tiny.quiet(
        StableDiffusion3Pipeline(
            transformer=net, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0), vae=decoder, **encoders, **tokenizers,
            text_encoder_3=None, tokenizer_3=None,
        )
    )  # fmt: skip


# Flow matching: a transformer in the UNet's place, the same loop, and two rows (uncond, cond).
FLOW: dict[str, Case] = {"sd3": case(sd3, **SQUARE)}
