"""Assemble src/dymo/miniature/weights, in half precision, from the checkpoints that exist, by from_pretrained.

    python -m training.export [--weights src/dymo/miniature/weights]

It can run while a recipe still trains: a part without a checkpoint is left out, and said so.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, StableDiffusion3Pipeline, StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer, CLIPVisionModelWithProjection

from dymo.miniature.judge import Judge
from dymo.miniature.preference import ConvPreference
from dymo.rewards.aesthetic import AestheticReward
from dymo.rewards.image_reward import ImageRewardModel
from dymo.rewards.step_aware import StepAwareCLIP

from . import flow, stack, turbo
from .aesthetic import mini_head
from .autoencoder import kl, tiny
from .fit import of_pair, part, trained
from .image_reward import mini_image_reward
from .judge import trained_judge
from .scenes import SIZE
from .scorers import conv_preference, mini_clip
from .step_aware import mini_step_aware

LIMIT = 90e6  # bytes, of all the weights together


def in_the_hub_s_names(folder: Path) -> None:
    """Save a CLIPTextModel's weights again as those of the hub are named: releases of transformers write them in other ways, and read this one."""
    path = folder / "text_encoder" / "model.safetensors"
    weights = {f"text_model.{name.removeprefix('text_model.')}": value for name, value in load_file(path).items()}
    save_file(weights, path, {"format": "pt"})


def export_pipeline(folder: Path, cache: Path) -> None:
    saved = torch.load(cache / "denoiser.pt", weights_only=True, map_location="cpu")
    tok = stack.tokenizer()
    unet, text = stack.denoiser(), stack.text_encoder(tok)
    unet.load_state_dict(part(saved["ema"], "unet.")), text.load_state_dict(part(saved["ema"], "text."))
    StableDiffusionPipeline(
        vae=trained("autoencoder", kl(), cache).half(), text_encoder=text.eval().half(), tokenizer=tok, unet=unet.eval().half(),
        scheduler=stack.scheduler(), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder, safe_serialization=True)  # fmt: skip
    in_the_hub_s_names(folder)
    again = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, dtype=torch.float32)
    again.set_progress_bar_config(disable=True)
    image = again("a red apple and a green car", num_inference_steps=2, output_type="np").images
    if image.shape != (1, 128, 128, 3):
        raise RuntimeError(f"the saved pipeline generates {image.shape}")
    same(unet, again.unet), same(text, again.text_encoder)
    print(f"pipeline: denoiser at step {saved['step']}")


def export_turbo(folder: Path, cache: Path) -> None:
    denoiser = torch.load(cache / "denoiser.pt", weights_only=True, map_location="cpu")["ema"]
    tok = stack.tokenizer()
    text, unet = stack.text_encoder(tok), trained("turbo", stack.denoiser(), cache)
    text.load_state_dict(part(denoiser, "text."))
    StableDiffusionPipeline(
        vae=trained("autoencoder", kl(), cache).half(), text_encoder=text.eval().half(), tokenizer=tok, unet=unet.half(),
        scheduler=turbo.scheduler(), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder, safe_serialization=True)  # fmt: skip
    in_the_hub_s_names(folder)
    same(unet, StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, dtype=torch.float32).unet)


def export_flow(folder: Path, cache: Path) -> None:
    saved = torch.load(cache / "flow.pt", weights_only=True, map_location="cpu")
    net, texts = flow.transformer(), flow.Texts()
    net.load_state_dict(part(saved["ema"], "transformer.")), texts.load_state_dict(part(saved["ema"], "texts."))
    clip, t5 = texts.clip.eval().half(), texts.t5.eval().half()
    vae = kl()
    if (cache / "autoencoder.pt").exists():
        vae = trained("autoencoder", vae, cache)
    else:  # the denoiser's, which is there already
        vae.load_state_dict(AutoencoderKL.from_pretrained(folder.parent / "pipeline" / "vae", torch_dtype=torch.float32).state_dict())
    StableDiffusion3Pipeline(
        transformer=net.eval().half(), scheduler=flow.scheduler(), vae=vae.half(),
        text_encoder=clip, tokenizer=texts.clip_tokenizer, text_encoder_2=clip, tokenizer_2=texts.clip_tokenizer,
        text_encoder_3=t5, tokenizer_3=texts.t5_tokenizer,
    ).save_pretrained(folder, safe_serialization=True)  # fmt: skip
    again = StableDiffusion3Pipeline.from_pretrained(folder, dtype=torch.float32)
    same(net, again.transformer), same(t5, again.text_encoder_3)
    print(f"flow: at step {saved['step']}")


def export_taesd(folder: Path, cache: Path) -> None:
    model = trained("taesd", tiny(), cache).half()
    model.save_pretrained(folder, safe_serialization=True)
    same(model, AutoencoderTiny.from_pretrained(folder, dtype=torch.float32))


def processor() -> CLIPImageProcessor:
    return CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size=SIZE)


def export_pickscore(folder: Path, cache: Path) -> None:
    tok = stack.tokenizer()
    model = of_pair("pickscore", "clip", mini_clip(tok), cache).half()
    model.save_pretrained(folder)
    tok.save_pretrained(folder)
    processor().save_pretrained(folder)
    same(model, CLIPModel.from_pretrained(folder, dtype=torch.float32))
    CLIPTokenizer.from_pretrained(folder)


def export_hps(folder: Path, cache: Path) -> None:
    model = of_pair("hps", "scorer", conv_preference(stack.tokenizer()), cache).half()
    model.save_pretrained(folder)
    same(model, ConvPreference.from_pretrained(folder))


def export_imagereward(folder: Path, cache: Path) -> None:
    tok = stack.tokenizer()
    model = of_pair("imagereward", "reward", mini_image_reward(tok), cache).half()
    model.save_pretrained(folder)
    tok.save_pretrained(folder)
    same(model, ImageRewardModel.from_pretrained(folder))


def export_aesthetic(folder: Path, cache: Path) -> None:
    clip = of_pair("pickscore", "clip", mini_clip(stack.tokenizer()), cache)
    config = clip.config.vision_config
    config.projection_dim = clip.config.projection_dim
    tower = CLIPVisionModelWithProjection(config)
    tower.vision_model, tower.visual_projection = clip.vision_model, clip.visual_projection
    head = trained("aesthetic", mini_head(), cache)
    AestheticReward(tower.half(), head, "mini-aesthetic").save_pretrained(folder)
    processor().save_pretrained(folder)
    same(tower, CLIPVisionModelWithProjection.from_pretrained(folder, dtype=torch.float32))


def export_step_aware(folder: Path, cache: Path) -> None:
    tok = stack.tokenizer()
    model = trained("step-aware", mini_step_aware(tok), cache).half()
    model.save_pretrained(folder)
    tok.save_pretrained(folder)
    processor().save_pretrained(folder)
    same(model, StepAwareCLIP.from_pretrained(folder))


def export_judge(folder: Path, cache: Path) -> None:
    model = trained_judge(cache).half()
    model.save_pretrained(folder)
    same(model, Judge.from_pretrained(folder))


def same(saved: nn.Module, loaded: nn.Module) -> None:
    """Raise unless the weights came back as they went out, in half precision."""
    back = loaded.state_dict()
    for key, value in saved.state_dict().items():
        if value.is_floating_point() and not torch.equal(value.half(), back[key].half()):
            raise RuntimeError(f"{type(saved).__name__}: {key} did not come back as it was saved")


# Folder -> the checkpoints it is made of, and how.
PARTS: dict[str, tuple[tuple[str, ...], Callable[[Path, Path], None]]] = {
    "pipeline": (("denoiser", "autoencoder"), export_pipeline),
    "taesd": (("taesd",), export_taesd),
    "mini-pickscore": (("pickscore",), export_pickscore),
    "mini-hps": (("hps",), export_hps),
    "mini-imagereward": (("imagereward",), export_imagereward),
    "mini-aesthetic": (("pickscore", "aesthetic"), export_aesthetic),
    "mini-step-aware": (("step-aware",), export_step_aware),
    "judge": (("judge",), export_judge),
    "turbo": (("denoiser", "autoencoder", "turbo"), export_turbo),
    "flow": (("flow",), export_flow),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=Path("src/dymo/miniature/weights"))
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name, (needed, make) in PARTS.items():
        missing = [need for need in needed if not (args.cache / f"{need}.pt").exists()]
        if missing:
            print(f"{name}: left out, no checkpoint of {', '.join(missing)}")
            continue
        # Made beside the old folder and put in its place at the end: a reader never meets half a folder.
        partial, final = args.weights / f".{name}", args.weights / name
        shutil.rmtree(partial, ignore_errors=True)
        make(partial, args.cache)
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        print(f"{name}: {sum(f.stat().st_size for f in final.rglob('*') if f.is_file()) / 1e6:.2f} MB")
    total = sum(f.stat().st_size for f in args.weights.rglob("*") if f.is_file())
    print(f"together {total / 1e6:.2f} MB")
    if total > LIMIT:
        raise SystemExit(f"more than {LIMIT / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
