"""A run of the studio: each seed aligned and unguided, by the engine, with what its events say on the way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from PIL import Image

from ..aligner import DyMO
from ..errors import Told
from ..events import Accepted, Begun, Cancelled, Event, Started
from ..pipelines.sampler_names import sampler_name
from ..pixels import to_pil
from ..report.png import Parameters
from ..rewards import load_reward
from ..trace import Step, Trace
from .course import course
from .gallery import Gallery
from .runs import Run, data_url
from .settings import INTENTS, Settings
from .words import words

EVERY = 0.25
"""Seconds between previews: a decoding costs time that the run would have."""
STEERED = {
    "semantic": "steered by the words", "mixed": "steered by the words and the reward", "preference": "steered by the reward",
    "unguided": "not steered",
}  # fmt: skip
"""What the page says of a step of each stage."""


class Loaded(NamedTuple):
    """A pipeline, ready; the decoder of its predictions (None: its own); and what the records of its images say of it."""

    pipe: Any
    preview_vae: Any = None
    record: Mapping[str, Any] = MappingProxyType({})


Loader = Callable[[str], Loaded]


class Worker:
    """Generates the images of runs. load: by the name of a pipeline; defaults: name -> its call."""

    def __init__(self, load: Loader, defaults: Callable[[str], dict[str, Any]], gallery: Gallery):
        self.load, self.defaults, self.gallery = load, defaults, gallery
        self._pipelines: dict[str, Loaded] = {}
        self._rewards: dict[str, Any] = {}
        self._lock = threading.Lock()

    def pipeline(self, name: str) -> Loaded:
        """Loaded once, when it is first asked for."""
        with self._lock:
            if name not in self._pipelines:
                self._pipelines[name] = self.load(name)
            return self._pipelines[name]

    def reward(self, name: str | None) -> Any:
        """The reward of a name, loaded once; None for None. Raises RewardError."""
        with self._lock:
            if name is not None and name not in self._rewards:
                self._rewards[name] = load_reward(name)
            return self._rewards.get(name) if name is not None else None

    def __call__(self, run: Run) -> None:
        """Every seed aligned first, since that is what the user waits for; then the same unguided, to compare."""
        settings = run.settings
        run.change(message=f"Loading {settings.pipeline} …")
        loaded, reward = self.pipeline(settings.pipeline), self.reward(settings.reward)
        run.change(message="")
        preset, _ = INTENTS[settings.intent]
        aligner = DyMO(reward, preset=preset, preview_vae=loaded.preview_vae, **{**settings.overrides(), "record_maps": True})
        plain = DyMO(None, semantic_weight=0)
        for seed in range(settings.seed, settings.seed + settings.count):
            if run.cancel.is_set():
                return
            self._aligned(run, loaded, aligner, seed)
            if not run.cancel.is_set():
                self._unguided(run, loaded, plain, seed)

    def _call(self, settings: Settings) -> dict[str, Any]:
        call = dict(self.defaults(settings.pipeline))
        given: dict[str, Any] = {"num_inference_steps": settings.steps, "guidance_scale": settings.guidance_scale}
        given["negative_prompt"] = settings.negative_prompt or None
        return call | {name: value for name, value in given.items() if value is not None}

    def _aligned(self, run: Run, loaded: Loaded, aligner: DyMO, seed: int) -> None:
        pipe, settings, call = loaded.pipe, run.settings, self._call(run.settings)
        watching = _Watching(run, seed, "aligned")
        output = aligner(
            pipe, settings.prompt, graph=settings.read_graph(), budget=settings.budget(call["num_inference_steps"]), cancel=run.cancel,
            generator=_generator(seed), listeners=[watching], **call,
        )  # fmt: skip
        trace = output.trace
        # Stopped on the way, the latents are noisy still: what there is is the last prediction.
        image = watching.predicted() if trace.cancelled else output.images[0]
        if image is None:
            return
        preset, _ = INTENTS[settings.intent]
        record = {
            **self._record(loaded, settings, seed, call), "aligned": True, "preset": preset, "overrides": settings.overrides(),
            "reward": settings.reward, "graph": trace.graphs[0], "evaluations": trace.evaluations[0],
            "seconds": round(trace.cost.seconds, 3),
            "budget": {"evaluations": settings.budget(call["num_inference_steps"]).evaluations, "seconds": settings.seconds},
        }  # fmt: skip
        if trace.cancelled:
            record["stopped_after"] = len(trace.steps)
        trace.maps = {}  # the page has shown them; on disk they would be most of the file
        name = self.gallery.keep(image, self._parameters(settings, pipe, call, seed, image, preset), record, trace)
        said = {name: record.get(name) for name in ("evaluations", "seconds", "stopped_after")} | {"note": _note(trace)}
        run.change(
            images=[*run.images, {"seed": seed, "name": name, "unguided": False, "prompt": settings.prompt, **said}]
        )

    def _unguided(self, run: Run, loaded: Loaded, plain: DyMO, seed: int) -> None:
        pipe, settings, call = loaded.pipe, run.settings, self._call(run.settings)
        watching = _Watching(run, seed, "unguided")
        output = plain(
            pipe, settings.prompt, cancel=run.cancel, generator=_generator(seed), listeners=[watching], **call
        )
        if output.trace.cancelled:
            return
        image, last = output.images[0], run.images[-1]
        record = {**self._record(loaded, settings, seed, call), "aligned": False}
        parameters = self._parameters(settings, pipe, call, seed, image, None)
        self.gallery.keep_unguided(last["name"], image, parameters, record)
        run.change(images=[*run.images[:-1], {**last, "unguided": True}])

    def _record(self, loaded: Loaded, settings: Settings, seed: int, call: dict[str, Any]) -> dict[str, Any]:
        return {"prompt": settings.prompt, "seed": seed, "model": settings.pipeline, **loaded.record, "call": call}

    def _parameters(
        self, settings: Settings, pipe: Any, call: dict[str, Any], seed: int, image: Any, preset: str | None
    ) -> Parameters:
        sampler = sampler_name(pipe.scheduler)
        return Parameters(
            settings.prompt, settings.negative_prompt, call["num_inference_steps"], sampler, call.get("guidance_scale"), seed,
            image.width, image.height, settings.pipeline, preset,
        )  # fmt: skip


class _Watching:
    """The listener that keeps the page's view of the image at work up to date."""

    def __init__(self, run: Run, seed: int, phase: str):
        self.run, self.seed, self.phase = run, seed, phase
        self.steps, self.last = 0, 0.0
        self.shown: str | None = None
        self.maps: dict[str, list] = {}
        self.done: list[Step] = []
        self.latest: Accepted | Begun | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            self.steps = event.steps
            self.tell("", 0)
        elif isinstance(event, Begun):
            self.latest, self.steps = event, event.seeds * event.steps
            self.show(event, False)
            self.tell(f"beginning seed {event.seed + 1} of {event.seeds}, of which the best goes on", event.done)
        elif isinstance(event, Accepted):
            self.latest = event
            self.done.append(event.step)
            self.maps = {key.partition(":")[2]: value for key, value in event.maps.items()} or self.maps
            self.show(event, event.step.index + 1 == self.steps)
            self.tell(STEERED[event.step.stage], event.step.index + 1)
        elif isinstance(event, Cancelled):
            self.run.change(message=self.stopped())

    def show(self, event: Accepted | Begun, at_once: bool) -> None:
        """Put its prediction on the page, where the one there is old enough."""
        if at_once or time.monotonic() - self.last >= EVERY:
            self.shown = data_url(_image(event))
            self.last = time.monotonic()

    def stopped(self) -> str:
        """What there is of an image where its run was stopped."""
        if self.phase == "unguided":
            return "Stopped before the unguided image, to compare with, was done."
        return "Stopped: this is the image as it was then." if self.latest else "Stopped before there was an image."

    def predicted(self) -> Any:
        """The latest one-step prediction as an image; None before the first step."""
        return None if self.latest is None else _image(self.latest)

    def tell(self, stage: str, step: int) -> None:
        self.run.change(
            now={
                "seed": self.seed, "phase": self.phase, "step": step, "steps": self.steps, "stage": stage,
                "preview": self.shown, "maps": self.maps, "series": course(self.done),
            }
        )  # fmt: skip


def _image(event: Accepted | Begun) -> Image.Image:
    """What it previews."""
    with torch.no_grad():
        return to_pil(event.preview()[:1])[0]


def _note(trace: Trace) -> str:
    """What of the guidance was not done, and why; "" where all was."""
    left = ", ".join(f"{count} for {why}" for why, count in trace.failures.items())
    cut = ", ".join(trace.truncated[0]) if trace.truncated else ""
    parts = [f"evaluations left unguided: {left}"] if left else []
    parts += [f"words beyond the text encoder's window: {cut}"] if cut else []
    one = trace.one_seed.in_words(words) if isinstance(trace.one_seed, Told) else trace.one_seed
    return "; ".join([*parts, *([f"no further seeds were begun: {one}"] if one else [])])


def _generator(seed: int) -> Any:
    return torch.Generator("cpu").manual_seed(seed)  # on the CPU, so that a seed gives the same image on every device
