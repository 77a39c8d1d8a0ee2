"""What the guidance takes on this machine's accelerator, at the real sizes, with random weights: nothing is downloaded.

    python -m tools.gpu [--minutes 8] [--out docs/gpu.md]
    python -m tools.gpu --tiny --device cpu --out FILE.md     the same on small architectures, to try the program

Milliseconds of an evaluation of the pipeline alone and of each kind of the guided run's (unguided, semantic, mixed, preference), eager,
as CUDA graphs and compiled, with 1, 4 and 8 images at once; kernels launched, peak memory, and the share of the rate at which
this chip multiplies large matrices; an SD1.5 image of 300 guided evaluations from start to end, and an SDXL one of 30 steps with 4
images; beside it the reference's way (11 views, explicit attention, a second image); and half precision against float32 on the
embedded miniature. The most important come first: what does not fit into the minutes is listed with that as the reason.

An evaluation's time is the mean over those of a run after the second, with the device waited for at both ends.
"""

from __future__ import annotations

import argparse
import functools
import gc
import itertools
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import nn
from transformers import CLIPConfig, CLIPModel

from dymo import DyMO, load_miniature, load_reward
from dymo.bench.flops import flop_counter
from dymo.bench.launches import Launches
from dymo.events import Accepted
from dymo.miniature import MINIATURE_DEFAULTS
from dymo.pipelines.compiled import compiled, repeated
from dymo.pipelines.graphed import Graphs
from dymo.pipelines.hold import patched
from dymo.report.atomic import write_text
from dymo.report.table import Column, Table
from dymo.rewards.clip import CLIPReward

from . import cost, published

FAMILIES = ("SD1.5", "SDXL", "SD3.5-M", "FLUX.1-dev")
STAGES = ("unguided", "semantic", "mixed", "preference")
ALONE = "the pipeline alone"
"""An evaluation of the pipeline without DyMO, which guided ones are measured against."""
LIMITS = {("SD1.5", "preference"): 1.5, ("SD1.5", "semantic"): 1.6, ("SDXL", "preference"): 1.2, ("SDXL", "semantic"): 1.6}
"""Of an evaluation of the pipeline alone, as a CUDA graph."""
SECONDS = 12.0
"""Of an SD1.5 image of 300 guided evaluations."""
EAGER_STEPS, STEPS = 9, 33
"""Of a run that is timed, all in one stage. Where the host runs ahead of the device, it takes more steps to see what a long run sees."""
CHANNELS_LAST = "channels last"
MEASURED = "<!-- Below this line: as python -m tools.gpu writes it. -->"
BOTH = "graphs, compiled"
"""Graphs of compiled parts: the decoder, the reward's layers, and small functions of the denoiser. Of the pipeline alone: its blocks."""
Make = Callable[[Callable[[], nn.Module], torch.dtype], Any]


def nothing() -> None:
    pass


@dataclass
class Line:
    """One measurement, or why there is none."""

    family: str
    what: str
    mode: str
    images: int
    milliseconds: float | None = None
    """Of an evaluation; of the whole image where `what` says so."""
    kernels: int | None = None
    share: float | None = None
    """Of the chip's matrix rate."""
    peak: float | None = None
    """Gigabytes, weights included."""
    note: str = ""


@dataclass
class Machine:
    """The device, its matrix rate, and the time that is left."""

    device: torch.device
    minutes: float
    tiny: bool = False
    kernels: bool = False
    """Whether to say how long the device is busy, and with what."""
    began: float = field(default_factory=time.monotonic)
    rate: float = 0.0
    """Operations a second of a large product in half precision."""

    def wait(self) -> None:
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)

    def left(self) -> float:
        """Seconds."""
        return 60 * self.minutes - (time.monotonic() - self.began)

    def name(self) -> str:
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else str(self.device)

    def timed(self, function: Callable[[], Any], times: int = 10) -> float:
        """Seconds of one call, after one that is not counted."""
        function()
        self.wait()
        began = time.perf_counter()
        for _ in range(times):
            function()
        self.wait()
        return (time.perf_counter() - began) / times

    def peak(self) -> float | None:
        return torch.cuda.max_memory_allocated(self.device) / cost.GIGA if self.device.type == "cuda" else None

    def restart(self) -> None:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def calibrate(self) -> None:
        side, kind = (128, torch.float) if self.tiny else (8192, torch.half)
        a, b = (torch.randn(side, side, device=self.device, dtype=kind) for _ in range(2))
        self.rate = 2 * side**3 / self.timed(lambda: a @ b)

    def make(self, build: Callable[[], nn.Module], dtype: torch.dtype) -> Any:
        """The module with random weights, on the device; in float32 where everything is tiny."""
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float if self.tiny else dtype)
        try:
            with torch.device(self.device):
                return build().eval().requires_grad_(False)
        finally:
            torch.set_default_dtype(before)


# What is measured.


def _small_unet(xl: bool) -> UNet2DConditionModel:
    more: dict[str, Any] = {}
    if xl:
        more = dict(addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=1280 + 6 * 8)
    return UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, norm_num_groups=4, block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=2048 if xl else 768, attention_head_dim=4, **more,
    )  # fmt: skip


def _small_clip() -> CLIPModel:
    both = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "projection_dim": 16}
    text = {"vocab_size": 514, "max_position_embeddings": 77, "bos_token_id": 512, "eos_token_id": 513}
    return CLIPModel(CLIPConfig(text_config=both | text, vision_config=both | {"patch_size": 8, "image_size": 32}, projection_dim=16))


@contextmanager
def _small() -> Iterator[None]:
    """The builders of `tools.cost`, small."""

    def vae(_size: int, factor: float, **_more: Any) -> Any:
        from diffusers import AutoencoderKL

        return AutoencoderKL(
            block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4, norm_num_groups=4, sample_size=16, scaling_factor=factor,
        )  # fmt: skip

    tiny = functools.partial(AutoencoderTiny, decoder_block_out_channels=(8, 8), num_decoder_blocks=(1, 1))
    with (
        mock.patch.object(cost, "unet_sd15", lambda: _small_unet(False)),
        mock.patch.object(cost, "unet_sdxl", lambda: _small_unet(True)),
        mock.patch.object(cost, "vae", vae),
        mock.patch.object(cost, "AutoencoderTiny", tiny),
    ):
        yield


def stack(family: str, machine: Machine, reward: CLIPReward) -> cost.Stack:
    """A family as it is published, its weights random and on the device."""
    made = machine.make
    with _small() if machine.tiny else nullcontext():
        one = cost.assembled(family, made, reward, torch.half)
    kind = torch.float if machine.tiny else next(one.denoiser.parameters()).dtype
    one.embeddings = {name: torch.randn(x.shape, dtype=kind).to(machine.device) for name, x in one.embeddings.items()}
    one.pipe.to(machine.device)
    return one


class Runs:
    """Runs of one family on the machine, timed."""

    def __init__(self, machine: Machine, one: cost.Stack, family: str):
        self.machine, self.one, self.family = machine, one, family

    def call(self, aligner: Any, steps: int, images: int, listeners: Sequence[Any] = (), **more: Any) -> Any:
        generator = torch.Generator().manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # random weights have gradients that are not finite, and rewards that do not act
            return aligner(
                self.one.pipe, graph=cost.GRAPH, num_inference_steps=steps, output_type="latent", num_images_per_prompt=images,
                listeners=listeners, generator=generator, **more, **self.one.embeddings,
            )  # fmt: skip

    def aligner(self, stage: str, preset: str = "fast", tiny: bool = True, **settings: Any) -> DyMO:
        preview = self.one.tiny if tiny else None
        # Steps that are left unguided are captured too; a run without objectives is the pipeline's own.
        of_stage = {"unguided_tail": 1.0} if stage == "unguided" and settings.get("compile") else cost._in_stage(stage)
        settings = {"recurrences": 0, "few_steps": "never", "scouts": 0} | of_stage | settings
        return DyMO(self.one.reward, preset, preview_vae=preview, **settings)

    def clock(
        self, steps: int, begin: Callable[[], Any] = nothing, end: Callable[[], Any] = nothing
    ) -> tuple[Callable[..., None], list[float]]:
        """What is to be called before each of so many evaluations, and the times of the third and of the last."""
        marks: list[float] = []
        places = itertools.count(1)

        def arrived(*_: Any) -> None:
            place = next(places)
            if place in (3, steps):
                self.machine.wait()
                (begin if place == 3 else end)()
                marks.append(time.perf_counter())

        return arrived, marks

    def evaluation(
        self, aligner: Any, images: int, steps: int, begin: Callable[[], Any] = nothing, end: Callable[[], Any] = nothing, **more: Any
    ) -> float:
        """Seconds of one evaluation of a run of so many steps. begin, end: called around those that are timed."""
        arrived, marks = self.clock(steps, begin, end)
        handle = None

        def listen(event: Any) -> None:
            # What is compiled before the first step is not timed.
            nonlocal handle
            if handle is None and type(event).__name__ == "Started":
                handle = self.one.denoiser.register_forward_pre_hook(arrived)

        try:
            self.call(aligner, steps, images, [listen], **more)
        finally:
            if handle is not None:
                handle.remove()
        return (marks[1] - marks[0]) / (steps - 3)

    def alone(self, images: int, mode: str = "eager") -> Line:
        """The pipeline without DyMO; where the mode says graphs, its denoiser's forward as one."""
        one, machine = self.one, self.machine
        unet: Any = one.denoiser
        steps = EAGER_STEPS if mode == "eager" else STEPS
        own, (arrived, marks) = unet.forward, self.clock(steps)
        graphs = Graphs() if mode.startswith("graphs") and not machine.tiny else None

        def forward(*args: Any, **kwargs: Any) -> Any:
            arrived()
            if graphs is None:
                return own(*args, **kwargs)
            sample, t, *rest = args
            given = ((sample, torch.as_tensor(t, device=machine.device), *rest), kwargs)
            return graphs.on_tree("denoiser", lambda x: (own(*x[0], **x[1])[0],), given, machine.device)

        self.machine.restart()
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(self.laid_out(mode))
            if mode.startswith((BOTH, "compiled")):
                stack.enter_context(compiled(repeated(unet), "eager" if machine.tiny else "inductor"))
            stack.enter_context(patched(unet, "forward", forward))
            generator = torch.Generator().manual_seed(0)
            one.pipe(
                num_inference_steps=steps, output_type="latent", num_images_per_prompt=images, generator=generator, **one.embeddings
            )
        return Line(self.family, ALONE, mode, images, 1000 * (marks[1] - marks[0]) / (steps - 3), peak=machine.peak())

    @contextmanager
    def laid_out(self, mode: str) -> Iterator[None]:
        """The denoiser in the memory format that the mode asks for."""
        last = mode.endswith(CHANNELS_LAST)
        if last:
            self.one.denoiser.to(memory_format=torch.channels_last)
        try:
            yield
        finally:
            if last:
                self.one.denoiser.to(memory_format=torch.contiguous_format)

    def counted(self, aligner: Any, images: int = 1) -> tuple[int, float]:
        """Kernels, and operations, of an evaluation that is not the first."""
        kernels, flops = [], []
        launches, counter = Launches(lambda x: x.device.type == self.machine.device.type), flop_counter()

        def arrived(*_: Any) -> None:
            launches.restart()
            flops.append(counter.get_total_flops())

        handle = self.one.denoiser.register_forward_pre_hook(arrived)

        def listen(event: Any) -> None:
            if isinstance(event, Accepted):
                kernels.append(launches.kernels)

        try:
            with counter, launches:
                self.call(aligner, 2, images, [listen])
        finally:
            handle.remove()
        return kernels[-1], counter.get_total_flops() - flops[-1]

    def line(self, what: str, mode: str, images: int, aligner: Any, count: bool, **more: Any) -> Line:
        self.machine.restart()
        steps = EAGER_STEPS if mode == "eager" else STEPS
        seconds = self.evaluation(aligner, images, steps, **more)
        found = Line(self.family, what, mode, images, 1000 * seconds, peak=self.machine.peak())
        if count:
            found.kernels, flops = self.counted(aligner, images)
            found.share = flops / seconds / self.machine.rate
        if self.machine.kernels:
            found.note = self.longest(aligner, images, steps)
        return found

    def longest(self, aligner: Any, images: int, steps: int, n: int = 3) -> str:
        """How long the device is busy in an evaluation, and the kernels that take longest; on CUDA alone."""
        if self.machine.device.type != "cuda":
            return ""
        from torch.profiler import ProfilerActivity, profile

        found = profile(activities=[ProfilerActivity.CUDA])
        self.evaluation(aligner, images, steps, found.start, found.stop)
        each = {kernel.key: kernel.self_device_time_total / 1000 / (steps - 3) for kernel in found.key_averages()}
        longest = sorted(each, key=lambda key: -each[key])[:n]
        return f"busy {sum(each.values()):.1f} ms: " + ", ".join(f"{key.split('<')[0][:60]} {each[key]:.1f}" for key in longest)

    # Kinds of measurements.

    def plain(self, stage: str, images: int, mode: str = "eager") -> Line:
        if stage == ALONE:
            return self.alone(images, mode)
        with self.laid_out(mode):
            return self.line(stage, mode, images, self.aligner(stage, compile=self.backend(mode)), mode == "eager")

    def backend(self, mode: str) -> bool | str:
        """`compile=` of a mode."""
        if mode.startswith("compiled"):
            return "eager" if self.machine.tiny else True
        if mode.startswith(BOTH):
            return "graphs+inductor"
        return "graphs" if mode.startswith("graphs") else False

    def whole_decoder(self, stage: str) -> Line:
        return self.line(f"{stage}, default", "eager", 1, self.aligner(stage, "default", tiny=False), True)

    def reference(self, stage: str) -> Line:
        """11 views, the gradient through everything, explicit attention, and a second image beside the one that is steered."""
        borders = (1.0, 1.0) if stage == "semantic" else (0.0, 0.0)
        preset = "official-sdxl" if self.family == "SDXL" else "official-sd15"
        aligner = DyMO(self.one.reward, preset, recurrences=0, borders=borders, unguided_tail=0.0)
        unet = self.one.denoiser
        own = dict(unet.attn_processors)
        unet.set_attn_processor(AttnProcessor())
        try:
            return self.line(f"{stage}, the reference's way", "eager", 2, aligner, True)
        finally:
            unet.set_attn_processor(own)

    def image(self, steps: int, recurrences: int, images: int, mode: str = "eager", seeds: int = 1) -> Line:
        """From start to end, decoded; seeds: of which one is chosen."""
        aligner = DyMO(
            self.one.reward, "fast", preview_vae=self.one.tiny, recurrences=recurrences, scouts=seeds - 1, compile=self.backend(mode)
        )
        self.machine.restart()
        self.machine.wait()
        began = time.perf_counter()
        with self.laid_out(mode):
            output = self.call(aligner, steps, images)
        self.machine.wait()
        trace = output.trace
        seconds = time.perf_counter() - began - trace.cost.compile_seconds
        chosen = f", one of {seeds} seeds" * (seeds > 1)
        what = f"an image: {steps} steps{chosen}, {max(trace.evaluations)} evaluations each"
        note = f"compiled before in {trace.cost.compile_seconds:.0f} s" if trace.cost.compile_seconds else ""
        return Line(self.family, what, mode, images, 1000 * seconds, peak=self.machine.peak(), note=note)


def precision(machine: Machine) -> list[Line]:
    """The miniature in half precision against itself in float32: how far the gradients' norms and the images are apart."""
    found: dict[torch.dtype, Any] = {}
    kinds = [torch.float, torch.bfloat16, torch.half]
    for kind in kinds:
        pipe = load_miniature(dtype=kind).to(machine.device)
        pipe.set_progress_bar_config(disable=True)
        call = {**MINIATURE_DEFAULTS, "num_inference_steps": 3 if machine.tiny else 25}
        aligner = DyMO(load_reward("mini-pickscore"), "fast", recurrences=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Older torch draws other noise in half precision.
            side = pipe.unet.config.sample_size
            latents = torch.randn(1, pipe.unet.config.in_channels, side, side, generator=torch.Generator().manual_seed(0)).to(machine.device, kind)
            found[kind] = aligner(pipe, cost.GRAPH.prompt, graph=cost.GRAPH, output_type="pt", latents=latents, **call)
    whole = found[torch.float]
    lines = []
    for kind in kinds[1:]:
        away = (found[kind].images.float() - whole.images.float()).abs().mean().item()
        sizes = [
            abs(a - b) / b for mine, theirs in zip(found[kind].trace.steps, whole.trace.steps, strict=True)
            for a, b in zip(mine.gradient_norm, theirs.gradient_norm, strict=True) if a and b
        ]  # fmt: skip
        failed = sum(found[kind].trace.failures.values())
        first = f"gradient of the first step {100 * sizes[0]:.2f} % of its length away" if sizes else "no gradient"
        note = f"{first}, {failed} not usable; the image {away:.4f} away (of 1, mean over pixels)"
        lines.append(Line("miniature", "against float32", str(kind).removeprefix("torch."), 1, note=note))
    return lines


# The plan, in order of importance.

TIERS = range(4)
"""What there are limits for; eager runs; other ways of running; several images, and other settings."""

Job = tuple[str, str, int, Callable[[], Line]]
"""What, how, how many images, and the work."""


def plan(machine: Machine, family: str, reward: CLIPReward, tier: int) -> Iterator[Job]:
    """The measurements of a family, which is built when the first is asked for. tier: of `TIERS`, what matters most first."""
    unet = family not in published.DENOISERS
    if not unet and tier != 1:  # of the others only eager runs are timed
        return
    runs = Runs(machine, stack(family, machine, reward), family)

    def plain(stages: Sequence[str], mode: str, images: int = 1) -> Iterator[Job]:
        for stage in stages:
            yield stage, mode, images, functools.partial(runs.plain, stage, images, mode)

    def image(mode: str) -> Iterator[Job]:
        steps, recurrences, images = (50, 5, 1) if family == "SD1.5" else (30, 0, 4)
        steps, recurrences = (2, min(recurrences, 1)) if machine.tiny else (steps, recurrences)
        yield "an image", mode, images, functools.partial(runs.image, steps, recurrences, images, mode)

    several = (ALONE, "semantic", "preference")
    last = f", {CHANNELS_LAST}"
    # SD1.5 is quicker in channels last, SDXL as it is.
    best = last if family == "SD1.5" else ""
    if tier == 0:
        yield from plain((ALONE,), f"graphs{best}")
        yield from plain(("unguided", "semantic", "preference"), f"{BOTH}{best}")
        yield from plain(("semantic", "preference"), f"graphs{best}")
        if family == "SD1.5":
            yield from image(f"{BOTH}{best}")
    elif tier == 1:
        yield from plain((ALONE, *STAGES), "eager")
    elif tier == 2:
        for stage in ("semantic", "preference"):
            yield f"{stage}, the reference's way", "eager", 2, functools.partial(runs.reference, stage)
        yield from plain(("mixed",), f"{BOTH}{best}")
        yield from plain(("unguided", "mixed"), f"graphs{best}")
        yield from plain((ALONE,), "graphs" if best else f"graphs{last}")
        if family != "SD1.5":
            yield from image(BOTH)
        yield from plain((ALONE,), f"{BOTH}{best}")
    else:
        for images in (4, 8):
            yield from plain(several, "graphs", images)
            yield from plain(several, "eager", images)
        yield "preference, default", "eager", 1, functools.partial(runs.whole_decoder, "preference")
        yield from image("graphs")
        yield from image("eager")
        steps = 2 if machine.tiny else 25
        yield "an image of four seeds", "eager", 1, functools.partial(runs.image, steps, 0, 1, "eager", 4)
        yield from plain(several, "compiled")


def measure(machine: Machine, families: Sequence[str], say: Callable[[Line], None]) -> list[Line]:
    """Every line, as far as the minutes go; a line that fails says why."""
    lines: list[Line] = []

    def note(*found: Line) -> None:
        lines.extend(found)
        for line in found:
            say(line)

    def skipped(family: str, what: str, mode: str = "", images: int = 1) -> Line:
        return Line(family, what, mode, images, note=f"skipped: the {machine.minutes:g} minutes are spent")

    def failed(error: Exception, family: str, what: str, mode: str = "", images: int = 1) -> Line:
        reason = (str(error).splitlines() or [""])[0]
        return Line(family, what, mode, images, note=f"failed: {type(error).__name__}: {reason[:150]}")

    machine.calibrate()
    reward = CLIPReward(machine.make(_small_clip if machine.tiny else cost.clip_vit_h, torch.half), cost._tokenizer(), "ViT-H/14")
    for tier, family in itertools.product(TIERS, families):
        if machine.left() <= 0:
            note(skipped(family, f"what is left of it, {tier + 1} of {len(TIERS)}"))
            continue
        try:
            for what, mode, images, work in plan(machine, family, reward, tier):
                if machine.left() <= 0:
                    note(skipped(family, what, mode, images))
                    continue
                try:
                    note(work())
                except Exception as error:  # one measurement that fails leaves the others
                    note(failed(error, family, what, mode, images))
                    machine.restart()
        except Exception as error:
            note(failed(error, family, "every line"))
        machine.restart()
        if tier == 2 and family == families[-1] and machine.left() > 0:
            try:
                note(*precision(machine))
            except Exception as error:
                note(failed(error, "miniature", "against float32"))
    return lines


# What is written.


def report(machine: Machine, lines: Sequence[Line]) -> str:
    """The page."""
    plain = {(x.family, x.images, x.mode): x.milliseconds for x in lines if x.what == ALONE}
    columns = [
        *(Column(name) for name in ("family", "what", "how")), Column("images", 0), Column("ms", 1), Column("x alone", 2), Column("x eager", 2),
        Column("kernels", 0), Column("share of rate, %", 0), Column("peak GB", 1), Column("note"),
    ]  # fmt: skip
    rows = []
    for x in lines:
        ratios = [
            x.milliseconds / base if x.milliseconds and base and not x.what.startswith("an image") else None
            for base in (plain.get((x.family, x.images, mode)) for mode in (x.mode if x.what == ALONE else x.mode.replace(BOTH, "graphs"), "eager"))
        ]
        share = None if x.share is None else 100 * x.share
        rows.append((x.family, x.what, x.mode, x.images, x.milliseconds, *ratios, x.kernels, share, x.peak, x.note))
    tiny = ", SMALL ARCHITECTURES: these numbers say that the program runs, and nothing else" if machine.tiny else ""
    versions = f"torch {torch.__version__}, CUDA {torch.version.cuda or 'none'}"
    head = [
        MEASURED,
        "",
        f"`python -m tools.gpu` on {machine.name()}, {versions}, random weights{tiny}. Half precision (bfloat16 for the transformers), "
        "reward CLIP ViT-H/14, the preset `fast` with the tiny decoder unless said, classifier-free guidance.",
        "",
        "ms: of one evaluation, for all its images; of the whole run where it says so. The pipeline alone: without DyMO; as graphs, its "
        "denoiser captured as it is, and with both, its blocks compiled before; unguided: a step of DyMO's run that it leaves unguided. "
        "x alone: of the pipeline alone with as many images, as graphs where the line says graphs; x eager: of it in eager mode. share of rate: of "
        f"{machine.rate / cost.TERA:.0f} TFLOP/s, at which this device multiplies large matrices. graphs: `compile='graphs'`; compiled: "
        "`compile=True`, and both `compile='graphs+inductor'`. "
        "The reference's way: 11 views, the gradient through everything, attention written out, and a second image beside.",
        "",
    ]  # fmt: skip
    return "\n".join([*head, Table(columns, rows).to_markdown(), "", *_limits(lines)]) + "\n"


def _limits(lines: Sequence[Line]) -> list[str]:
    """What is asked of one image's guided evaluation beside one of the pipeline alone as a CUDA graph, each in its quickest way;
    beside it, of what else is without guidance; and of an image. And whether it is so."""

    def quickest(family: str, what: str, modes: Callable[[str], bool]) -> tuple[float, str] | None:
        found = [(x.milliseconds, x.mode) for x in lines if (x.family, x.what, x.images) == (family, what, 1) and x.milliseconds and modes(x.mode)]
        return min(found, default=None)

    made = []
    for (family, stage), limit in LIMITS.items():
        mine = quickest(family, stage, lambda mode: mode != "eager")
        base = quickest(family, ALONE, lambda mode: mode != "eager" and "compiled" not in mode)
        if not mine or not base:
            continue
        others = {"with its blocks compiled too": quickest(family, ALONE, lambda mode: "compiled" in mode),
                  "of an unguided step of DyMO's run": quickest(family, "unguided", lambda mode: mode != "eager")}  # fmt: skip
        beside = "".join(f"; {what} {mine[0] / other[0]:.2f}" for what, other in others.items() if other)
        ratio = mine[0] / base[0]
        made.append(
            f"- {'yes' if ratio <= limit else 'NO'}: {family}, {stage} ({mine[1]}): {ratio:.2f} of the pipeline alone ({base[1]}), "
            f"at most {limit:g}{beside}"
        )  # fmt: skip
    for x in lines:
        if x.family == "SD1.5" and x.what.startswith("an image") and x.milliseconds and x.mode != "eager":
            seconds = x.milliseconds / 1000
            made.append(f"- {'yes' if seconds <= SECONDS else 'NO'}: SD1.5, {x.what}: {seconds:.1f} s; at most {SECONDS:g}")
    return made


def written_above(page: Path) -> str:
    """What somebody wrote in the page above `MEASURED`; the page's head where there is none."""
    text = page.read_text() if page.is_file() else ""
    return text.partition(MEASURED)[0] if MEASURED in text else "# On a GPU\n\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser("python -m tools.gpu", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=8.0, help="stop measuring after so long [8]")
    parser.add_argument("--out", type=Path, default=Path("docs/gpu.md"), metavar="FILE", help="the page [docs/gpu.md]")
    parser.add_argument("--family", choices=FAMILIES, action="append", help="only this one")
    parser.add_argument("--device", help="cuda, cuda:1, mps, xpu, cpu [the accelerator there is]")
    parser.add_argument("--kernels", action="store_true", help="say how long the device is busy in an evaluation, and with what")
    parser.add_argument("--tiny", action="store_true", help="small architectures, to try the program")
    chosen = parser.parse_args(arguments)
    device = chosen.device
    if device is None:
        if not torch.accelerator.is_available():
            print("There is no accelerator here, so nothing was measured (--tiny --device cpu tries the program).")
            return 0
        device = torch.accelerator.current_accelerator()
    machine = Machine(torch.device(device), chosen.minutes, chosen.tiny, chosen.kernels)
    families = chosen.family or (FAMILIES[:2] if chosen.tiny else FAMILIES)

    above = written_above(chosen.out)
    said: list[Line] = []

    def say(x: Line) -> None:
        found = x.note if x.milliseconds is None else f"{x.milliseconds:.1f} ms {x.note}"
        print(f"{x.family}, {x.what}, {x.mode}, {x.images}: {found}", file=sys.stderr, flush=True)
        said.append(x)
        write_text(chosen.out, above + report(machine, said))  # a run that is cut off leaves what it has found

    lines = measure(machine, families, say)
    print(write_text(chosen.out, above + report(machine, lines)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
