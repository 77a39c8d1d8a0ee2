"""What the nodes do, without ComfyUI: a pipeline loaded, a graph read, images generated."""

from __future__ import annotations

import functools
import json
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..aligner import DyMO
from ..budget import Budget
from ..commands.models import load_pipeline, load_preview_vae, quiet_libraries
from ..commands.notices import in_words
from ..commands.sources import check_loras, check_model
from ..commands.transformer import check_transformer
from ..errors import ConfigError, did_you_mean
from ..events import Accepted, Begun, Evaluated, Event, Started
from ..miniature import MINIATURE
from ..pipelines.size import check_side, whole_size
from ..pixels import to_pil
from ..prompt import parse
from ..prompt.graph import SemanticGraph
from ..rewards import Reward, load_reward
from ..rewards.combine import CombinedReward
from .words import IN_SETTINGS, WIDGETS, words

UNGUIDED = "unguided"
"""What stands in the place of a preset for the pipeline's own images."""
_INPUTS = {*WIDGETS, *WIDGETS.values(), "seed", "evaluations"}
EVERY = 0.25
"""Seconds between previews: a decoding costs time that the run would have."""
Parts = tuple[tuple[Reward, float], ...]
"""Rewards with their weights in a sum."""
Loras = tuple[tuple[str, float], ...]
"""Files with their strengths."""


@dataclass(eq=False)
class Loaded:
    """A pipeline, and the decoder of its predictions (None: its own), for a device; moves: as a whole, without an offload.

    ComfyUI keeps what its nodes gave for longer than it is used: one at a time is on the device.
    """

    pipe: Any = field(repr=False)
    preview_vae: Any = field(default=None, repr=False)
    device: str = "cpu"
    moves: bool = True

    def __post_init__(self) -> None:
        _LOADED.add(self)

    def to(self, device: str) -> None:
        """Bring it there, where it is not."""
        for part in (self.pipe, self.preview_vae):
            if self.moves and part is not None and part.device.type != torch.device(device).type:
                part.to(device)

    def _comfy_cache_tensors(self) -> list[Tensor]:
        """What ComfyUI counts when it chooses what to drop from main memory; without it a pipeline would weigh nothing there."""
        modules = [part for part in (*self.pipe.components.values(), self.preview_vae) if isinstance(part, torch.nn.Module)]
        return [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]


_LOADED: weakref.WeakSet[Loaded] = weakref.WeakSet()


def _only(own: Loaded | None) -> None:
    """Bring every other pipeline to main memory, and then this one to its device."""
    for other in list(_LOADED):
        if other is not own:
            other.to("cpu")
    if own is not None:
        own.to(own.device)


@dataclass(frozen=True)
class Request:
    """What is asked of `generate`. Width, height and evaluations: None for the pipeline's own, and for no limit."""

    prompt: str
    negative_prompt: str = ""
    seed: int = 0
    steps: int = 30
    guidance_scale: float = 7.0
    width: int | None = None
    height: int | None = None
    batch_size: int = 1
    preset: str = "fast"
    evaluations: int | None = None
    settings: str = ""
    """Settings of the method that differ from the preset's, as a JSON object."""


def ours(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as a node calls it: outside of ComfyUI's inference mode, in which there is no gradient.

    Its errors and warnings are in the words of the nodes.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with torch.inference_mode(False), in_words(words):
            return function(*args, **kwargs)

    return call


@ours
def load(
    model: str, device: str, *, scheduler: str | None = None, dtype: str | None = None, offload: str = "none", preview_vae: str = "",
    loras: Loras = (), config: str = "", transformer: str | None = None,
) -> Loaded:  # fmt: skip
    """A folder, hub id, checkpoint in one file, or the miniature. Raises PipelineError or ConfigError."""
    quiet_libraries()
    if not model.strip():
        raise ConfigError(f"model is empty: give a folder, a hub id as OWNER/NAME, a file, or {MINIATURE!r}")
    named, of_family = None if model.strip() == MINIATURE else model.strip(), config.strip() or None
    _check(named, of_family, loras, transformer)
    _only(None)
    pipe = load_pipeline(
        named, scheduler, dtype, device, config=of_family, loras=loras, transformer=transformer, offload=offload, steered=True
    )
    preview = load_preview_vae(preview_vae.strip(), pipe) if preview_vae.strip() else None
    return Loaded(pipe, preview, device, moves=offload == "none")


def _check(model: str | None, config: str | None, loras: Loras, transformer: str | None) -> None:
    """Raises ConfigError, before anything is loaded, on files that cannot be what they are taken for.

    The hub is left to the loaders: where it does not answer, asking it here would take all of ComfyUI offline.
    """
    path = Path(model).expanduser() if model is not None else None
    if path is not None and (path.is_dir() or (path.is_file() and config is not None)):
        check_model(str(path), config, transformer=transformer)
    if transformer is not None:
        check_transformer(transformer, model)
    check_loras(loras, model, config)


@ours
def reward(name: str, weight: float, others: Parts = ()) -> Parts:
    """A reward with its weight, after the others. Raises RewardError."""
    parts = (*others, (load_reward(name), weight))
    CombinedReward(parts)  # says what is wrong with a weight where it was given
    return parts


@ours
def read_graph(prompt: str, written: str = "") -> SemanticGraph:
    """What the prompt says, by the built-in parser; or the graph that somebody wrote. Raises PromptError."""
    return SemanticGraph.from_json(written) if written.strip() else parse(prompt)


def in_short(graph: SemanticGraph) -> str:
    """What is drawn together and what is kept apart, a line each."""
    together = ", ".join(f"{attribute.text} {entity.text}" for entity, attribute in graph.bound())
    apart = ", ".join(f"{graph.entities[i].text} / {graph.entities[j].text}" for i, j in graph.opposed())
    return f"together: {together or 'nothing'}\napart: {apart or 'nothing'}"


@ours
def generate(
    loaded: Loaded, request: Request, rewards: Parts = (), graph: SemanticGraph | None = None,
    progress: Callable[[int, int, Any], None] = lambda done, steps, preview: None,
) -> tuple[Tensor, str]:  # fmt: skip
    """Images (B, height, width, 3) in [0, 1] on the CPU, and the trace as JSON.

    progress: called after each evaluation with the steps done, their number, and now and then an image of the prediction (else
    None); what it raises ends the run. Raises DyMOError.
    """
    for name in ("width", "height"):
        if (side := getattr(request, name)) is not None:
            check_side(name, side)
    _only(loaded)
    guided = request.preset != UNGUIDED
    budget = None if request.evaluations is None else Budget(evaluations=request.evaluations)
    asked: dict[str, Any] = {"width": request.width, "height": request.height, "negative_prompt": request.negative_prompt.strip() or None}
    output = _aligner(loaded, request, rewards)(
        loaded.pipe, request.prompt, graph=graph if guided else None, budget=budget if guided else None, listeners=[_Listener(progress)],
        num_inference_steps=request.steps, guidance_scale=request.guidance_scale, num_images_per_prompt=request.batch_size,
        # On the CPU, so that a seed gives the same image on every device.
        generator=torch.Generator("cpu").manual_seed(request.seed), output_type="pt",
        **whole_size(loaded.pipe, {name: value for name, value in asked.items() if value is not None}),
    )  # fmt: skip
    images = output.images.detach().float().clamp(0, 1).permute(0, 2, 3, 1).cpu().contiguous()
    return images, output.trace.to_json(indent=1)


def _aligner(loaded: Loaded, request: Request, rewards: Parts) -> DyMO:
    if request.preset == UNGUIDED:
        return DyMO(None, semantic_weight=0)
    try:
        settings = json.loads(request.settings) if request.settings.strip() else {}
    except ValueError as error:
        raise ConfigError(f"settings: {error}; give a JSON object, as {{\"eta\": 0.2}}") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"settings: {request.settings.strip():.60} is no JSON object; give one, as {{\"eta\": 0.2}}")
    for name in settings.keys() - set(IN_SETTINGS):
        if name in _INPUTS:
            raise ConfigError(f"settings: {name!r} has an input of its own; give it there")
        raise ConfigError(f"settings: there is no {name!r}{did_you_mean(name, IN_SETTINGS)}; choose from {', '.join(sorted(IN_SETTINGS))}")
    guide = rewards[0][0] if len(rewards) == 1 and rewards[0][1] == 1 else CombinedReward(rewards) if rewards else None
    return DyMO(guide, request.preset, preview_vae=loaded.preview_vae, **settings)


class _Listener:
    """Tells how far a run is."""

    def __init__(self, progress: Callable[[int, int, Any], None]):
        self.progress, self.steps, self.last = progress, 0, 0.0

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            self.steps = event.steps
        elif isinstance(event, Evaluated):
            self.progress(event.index, self.steps, None)
        elif isinstance(event, Begun):
            self.tell(event.done, event.seeds * event.steps, event)
        elif isinstance(event, Accepted):
            self.tell(event.step.index + 1, self.steps, event)

    def tell(self, done: int, steps: int, event: Accepted | Begun) -> None:
        preview = None
        if time.monotonic() - self.last >= EVERY:
            with torch.no_grad():
                preview = to_pil(event.preview()[:1])[0]
            self.last = time.monotonic()
        self.progress(done, steps, preview)
