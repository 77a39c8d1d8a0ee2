"""A recorded run of DyMO's reference implementation (SD1.5 script, CPU, float32) on a tiny pipeline, one evaluation at a time.

Each evaluation can be repeated from the latents that entered it: `pipeline()` and `reward()` give the models, `evaluations`
the latents and what the reference implementation computed from them. Delta of an evaluation compares with the z0' of the
previous evaluation, which a run computes itself.

data/recording.json has the prompt, the pairs, the recorded numbers, the configurations and a table of tensors;
data/recording.npz their values. A tensor is its step, a power of two, times
whole numbers, stored as byte planes. The steps were chosen by the
derivatives of the losses, so that rounding moves them by about as much as float32 arithmetic does.

The latents: the run drew all its noise from known seeds, so z of the next evaluation is coded as its difference from a
linear prediction: this and the previous z and the noise drawn after them, mixed over the channels. The difference is
rounded too; the error of a latent is at most half of a step, and does not add up.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoTokenizer, CLIPConfig, CLIPTextConfig, CLIPTextModel, CLIPTokenizer

DATA = Path(__file__).parent / "data"
SHAPE = (1, 4, 64, 64)
LATENT_SEED = 40


@dataclass(frozen=True)
class Evaluation:
    """One evaluation: what entered it and what the reference implementation computed."""

    index: int
    recurrence: int
    """0 at the first evaluation of a timestep."""
    t: int
    stage: str
    """`semantic`, `mixed` or `preference`: L is 10 L_A, w_A L_A + w_R L_R, or L_R."""
    z: Tensor
    """(1, 4, 64, 64), z_t."""
    loss_semantic: float
    loss_preference: float
    w_A: float | None
    """10 w and 1 - w with w = 1 - exp(-delta), in every stage; None, as delta, at index 0."""
    w_R: float | None
    delta: float | None
    gradient_norm: float
    displacement: float
    """Length of the displacement of z_{t-1}: c residual, c = 1.5, 1, 1 by stage."""
    residual: float
    """||eps_cond - eps_uncond||."""
    r_t: int
    """Recurrences of this timestep, int(h ||g||) of its first evaluation, h = 1, 1, 3 by stage."""
    positions: Tensor
    """(256,) indices into the flattened gradient, others in every evaluation."""
    gradient: Tensor
    """(256,) elements of the unit gradient g / ||g|| at `positions`, to 3 digits."""

    def cosine(self, gradient: Tensor) -> float:
        """Cosine of a gradient of z's shape and the recorded one, at the recorded positions."""
        found = gradient.detach().flatten()[self.positions].double()
        return torch.nn.functional.cosine_similarity(found, self.gradient.double(), dim=0).item()


def noise(t: int, recurrence: int, which: int) -> Tensor:
    """The run's draws after an evaluation: `which` 1 for the DDIM step (eta 1), 2 for the way back in time. Float64."""
    generator = torch.Generator().manual_seed(1009 * t + 7 * recurrence + which)
    return torch.randn(SHAPE, generator=generator).double()


@functools.cache
def _table() -> dict[str, Any]:
    return json.loads((DATA / "recording.json").read_text(encoding="utf-8"))


@functools.cache
def _values() -> dict[str, np.ndarray]:
    with np.load(DATA / "recording.npz") as found:
        return dict(found)


@functools.cache
def _codes() -> np.ndarray:
    planes = [_values()[f"plane{i}"] for i in range(4)]
    return np.ascontiguousarray(np.stack(planes, axis=-1)).view("<u4").ravel().astype(np.int64)


@functools.cache
def _tensors() -> dict[str, Tensor]:
    """All tensors of the table: float64 2^exponent * code, codes signed as 0, -1, 1, -2 ... are written 0, 1, 2, 3 ..."""
    found, at = {}, 0
    for name, shape, exponent in _table()["tensors"]:
        count = int(np.prod(shape))
        code = _codes()[at : at + count]
        at += count
        found[name] = torch.from_numpy(((code >> 1) ^ -(code & 1)) * 2.0**exponent).reshape(shape)
    return found


def _state(prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value.float() for name, value in _tensors().items() if name.startswith(prefix)}


def predictors(zs: list[Tensor], at: list[tuple[int, int]]) -> Tensor:
    """What the latents after the last of `zs` are predicted from: (4096, channels), float64. at: (t, recurrence) of each."""
    parts = []
    for z, (t, recurrence) in list(zip(zs, at, strict=True))[-2:]:
        parts += [z.double(), noise(t, recurrence, 1), noise(t, recurrence, 2)]
    return torch.cat([part[0].flatten(1) for part in parts] + [torch.ones(1, 4096, dtype=torch.float64)]).T


@functools.cache
def _latents() -> list[Tensor]:
    zs = [torch.randn(SHAPE, generator=torch.Generator().manual_seed(LATENT_SEED))]
    at = _places()
    for i in range(1, len(at)):
        mixing = torch.from_numpy(_values()[f"mixing{i:02d}"]).double()
        predicted = (predictors(zs, at[:i]) @ mixing).T.reshape(SHAPE)
        zs.append((predicted + _tensors()[f"z{i:02d}"]).float())
    return zs


def _places() -> list[tuple[int, int]]:
    """(t, recurrence) of each evaluation."""
    places: list[tuple[int, int]] = []
    for found in _table()["evaluations"]:
        same = bool(places) and places[-1][0] == found["t"]
        places.append((found["t"], places[-1][1] + 1 if same else 0))
    return places


def positions(index: int) -> Tensor:
    """(256,) where the gradient of evaluation `index` is kept."""
    return torch.randperm(4 * 64 * 64, generator=torch.Generator().manual_seed(index))[:256]


@functools.cache
def evaluations() -> tuple[Evaluation, ...]:
    """The 41 evaluations of the run, in order."""
    made = []
    for i, (found, (t, recurrence), z) in enumerate(zip(_table()["evaluations"], _places(), _latents(), strict=True)):
        gradient = torch.from_numpy(_values()["gradients"][i].astype(np.float64)) / 128
        made.append(
            Evaluation(
                i, recurrence, t, found["stage"], z, found["loss_cos"], found["loss_pref"], found["alpha_attn"],
                found["alpha_pref"], found["delta"], found["gnorm"], found["rho"] * found["gnorm"], found["corr"],
                found["round_now"], positions(i), gradient,
            )
        )  # fmt: skip
    return tuple(made)


def prompt() -> str:
    """The run's prompt, lower-cased as the reference implementation does."""
    return _table()["prompt"]


def pairs() -> dict[str, list[tuple[int, int]]]:
    """S_pos ("pos") and S_neg ("neg") as positions of word pieces (0 is the start token)."""
    return {kind: [tuple(pair) for pair in found] for kind, found in _table()["pairs"].items()}


def tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer, of its words and merges only those that the prompt needs: the same pieces at the same positions."""
    found = _table()["tokenizer"]
    merges = [tuple(merge) for merge in found["merges"]]
    return CLIPTokenizer(
        vocab={token: i for i, token in enumerate(found["tokens"])}, merges=merges, model_max_length=77,
        pad_token="<|endoftext|>",
    )  # fmt: skip


def whole(folder: Path) -> list[Evaluation]:
    """The evaluations of the whole recording in `folder`, unrounded; the gradient at the same places."""
    tensors = load_file(folder / "evaluations.safetensors")
    full = []
    for e in evaluations():
        z, g = tensors[f"{e.index:02d}.z"].view(SHAPE), tensors[f"{e.index:02d}.g"].flatten()
        full.append(replace(e, z=z, positions=torch.arange(len(g)), gradient=g / g.norm()))
    return full


def pipeline(folder: Path | None = None) -> StableDiffusionPipeline:
    """The run's pipeline with its DDIM scheduler (10 steps, eta 1, guidance scale 7.5, 128x128 pixels). Float32, frozen.

    The image encoder of its VAE, which the run did not use, is random. folder: of the whole recording.
    """
    if folder is not None:
        made = StableDiffusionPipeline.from_pretrained(folder / "pipeline", safety_checker=None)
        made.register_modules(scheduler=DDIMScheduler.from_config(made.scheduler.config))
        made.set_progress_bar_config(disable=True)
        return made
    config = _table()["configs"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = UNet2DConditionModel.from_config(config["unet"])
        vae = AutoencoderKL.from_config(config["vae"])
        text = CLIPTextModel(CLIPTextConfig(**config["text"]))
    unet.load_state_dict(_state("unet."))
    absent, alien = vae.load_state_dict(_state("vae."), strict=False)
    assert not alien and all(name.startswith(("encoder.", "quant_conv.")) for name in absent)
    absent, alien = text.load_state_dict(_text_names(_state("text."), text), strict=False)
    assert not alien and all("position_ids" in name for name in absent), (absent, alien)
    for model in (unet, vae, text):
        model.eval().requires_grad_(False)
    pipe = StableDiffusionPipeline(
        vae=vae, text_encoder=text, tokenizer=tokenizer(), unet=unet, scheduler=DDIMScheduler(**config["scheduler"]),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _text_names(state: dict[str, Tensor], model: CLIPTextModel) -> dict[str, Tensor]:
    """The stored names as this version of transformers has them, with or without `text_model.` before them."""
    if next(iter(model.state_dict())).startswith("text_model."):
        return state
    return {name.removeprefix("text_model."): value for name, value in state.items()}


def reward(folder: Path | None = None) -> Any:
    """The run's step-aware preference model: `.score(images, prompts, timestep)`, images (B, 3, H, W), not clamped."""
    from dymo.rewards.step_aware import StepAwareCLIP, StepAwareReward

    if folder is not None:
        model = StepAwareCLIP(CLIPConfig.from_pretrained(folder / "step-aware")).eval().requires_grad_(False)
        state = load_file(folder / "step-aware" / "model.safetensors")
        model.load_state_dict({name.removeprefix("model."): value for name, value in state.items()})
        return StepAwareReward(model, AutoTokenizer.from_pretrained(folder / "step-aware"), "step-aware")
    model = StepAwareCLIP(CLIPConfig(**_table()["configs"]["step-aware/config"])).eval().requires_grad_(False)
    state = _state("reward.")
    model.load_state_dict({name.removeprefix("model."): value for name, value in state.items()})
    return StepAwareReward(model, tokenizer(), "step-aware")
