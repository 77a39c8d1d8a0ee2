"""What the trained baselines share: a LoRA on the miniature's denoiser, one resumable loop, and the file it ends in."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig, get_peft_model_state_dict

from dymo.miniature import WEIGHTS, load_miniature

TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]
Losses = Callable[[torch.Generator, int], torch.Tensor]
"""A generator and the step's number -> the losses of a batch, (B,)."""


def arguments(description: str | None, steps: int, lr: float, batch: int) -> argparse.Namespace:
    """The options of a trainer, with its defaults."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--lr", type=float, default=lr)
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop (resumably) after this long")
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    parser.add_argument("--out", type=Path, default=WEIGHTS / "lora", help="folder of the LoRA's safetensors file")
    return parser.parse_args()


def miniature(rank: int, seed: int) -> Any:
    """The miniature with a fresh LoRA on its denoiser's attention, the only parameters with a gradient."""
    pipe = load_miniature()
    pipe.set_progress_bar_config(disable=True)
    for component in (pipe.unet, pipe.vae, pipe.text_encoder):
        component.requires_grad_(False)
    torch.manual_seed(seed)
    pipe.unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=TARGETS))
    return pipe


@contextmanager
def reference(unet: Any) -> Iterator[None]:
    """The denoiser without its LoRA inside, and without gradients."""
    unet.disable_adapters()
    try:
        with torch.no_grad():
            yield
    finally:
        unet.enable_adapters()


def train(name: str, pipe: Any, losses: Losses, args: argparse.Namespace, every: int = 20) -> bool:
    """Minimise the mean of `losses`; AdamW, gradient norm at most 1; goes on from `args.cache/lora-NAME`.

    The generator is seeded by the step, so that a resumed run draws what an uninterrupted one would. Writes
    `args.out/NAME.safetensors` at the end. Returns whether it reached `args.steps`.
    """
    set_seed(args.seed)
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    pipe.to(accelerator.device)
    trained = [parameter for parameter in pipe.unet.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=args.lr, weight_decay=1e-4)
    pipe.unet, optimiser = accelerator.prepare(pipe.unet, optimiser)
    folder, progress = args.cache / f"lora-{name}", _Progress()
    accelerator.register_for_checkpointing(progress)
    if folder.exists():
        accelerator.load_state(str(folder))
        accelerator.print(f"{name}: resuming at step {progress.step}", flush=True)
    began, running = time.time(), 0.0
    while progress.step < args.steps and time.time() - began < 60 * args.minutes:
        offset = args.seed * 1_000_003 + progress.step * accelerator.num_processes + accelerator.process_index
        loss = losses(torch.Generator().manual_seed(offset), progress.step).mean()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        progress.step += 1
        running += loss.item() / every
        if progress.step % every == 0:
            accelerator.print(
                f"{name}: step {progress.step} loss {running:.4f} {time.time() - began:.0f} s", flush=True
            )
            running = 0.0
            accelerator.save_state(str(folder))
    accelerator.save_state(str(folder))
    if accelerator.is_main_process:
        save(accelerator.unwrap_model(pipe.unet), args.out / f"{name}.safetensors")
    return progress.step >= args.steps


def save(unet: Any, path: Path) -> None:
    """The denoiser's LoRA as the file that `pipe.load_lora_weights(path)` and `dymo bench --lora` read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    StableDiffusionPipeline.save_lora_weights(path.parent, unet_lora_layers=state, weight_name=path.name)


class _Progress:
    """The number of steps done, kept with the checkpoint."""

    def __init__(self) -> None:
        self.step = 0

    def state_dict(self) -> dict[str, int]:
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.step = state["step"]


class Denoising:
    """Errors of the denoiser on generated images: the noise and the level are drawn once for all that is compared."""

    def __init__(self, pipe: Any, cache: Path):
        from . import stack

        self.pipe = pipe
        self.space = stack.PatchPCA(**torch.load(cache / "pca.pt", weights_only=True))

    def latents(self, images: np.ndarray) -> torch.Tensor:
        """Images (n, 128, 128, 3) uint8 -> (n, 16, 16, 16)."""
        return self.space.encode(torch.from_numpy(images)).to(self.pipe.device)

    def words(self, prompts: list[str]) -> torch.Tensor:
        """Embeddings of prompts, (n, tokens, d)."""
        with torch.no_grad():
            return self.pipe.encode_prompt(prompts, self.pipe.device, 1, False)[0]

    def draw(self, n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Noise (n, 16, 16, 16) and levels (n,)."""
        shape = (n, self.pipe.unet.config.in_channels, *[self.pipe.unet.config.sample_size] * 2)
        noise = torch.randn(shape, generator=generator)
        t = torch.randint(0, self.pipe.scheduler.config.num_train_timesteps, (n,), generator=generator)
        return noise.to(self.pipe.device), t.to(self.pipe.device)

    def error(self, z0: torch.Tensor, noise: torch.Tensor, t: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """Mean square of prediction - target of each sample, (n,)."""
        scheduler = self.pipe.scheduler
        kind = scheduler.config.prediction_type
        target = scheduler.get_velocity(z0, noise, t) if kind == "v_prediction" else noise if kind == "epsilon" else z0
        found = self.pipe.unet(scheduler.add_noise(z0, noise, t), t, encoder_hidden_states=words, return_dict=False)[0]
        return (found - target).pow(2).flatten(1).mean(1)
