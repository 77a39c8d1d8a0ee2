"""What one guided evaluation spends at the real sizes (SD1.5 at 512; SDXL, SD3.5, FLUX.1, Z-Image at 1024), without weights.

    python -m tools.cost [--json FILE] [--markdown FILE] [--no-check]

The code that is counted is the library's own: `DyMO` runs a diffusers pipeline of the real configuration for one step,
with one recurrence-free evaluation of one picture under classifier-free guidance (two rows of the denoiser; one where
guidance is distilled, as in FLUX.1-dev and Z-Image-Turbo). Only the weights are fake tensors, which have a shape and a
dtype and no content; whatever they touch becomes fake too, so that nothing is computed, while autograd builds and walks
the real graph. A number that the library reads out of a fake tensor (a norm, a test for NaN) is answered with 1.

TFLOP: `torch.utils.flop_counter`, 2 operations a multiply-add; matrix products, convolutions and attention count,
elementwise work, normalisation and resizing do not. Attention's backward counts as the fused kernel does it, with the
scores computed again. The prompt's text features belong to the prompt, not to an evaluation, and are left out.

Activation bytes: storages that come into being after the evaluation begins, followed from birth to death. "kept" is
what is alive when the backward starts, "peak" the most that is ever alive, the backward included. Parameters, their
copies and what was alive before are not in it, nor is a kernel's workspace or what an allocator loses to fragments.
Weights are in half precision, except for a VAE whose `force_upcast` is set: the library decodes with that in float32.

Kernels: operations of torch that would be launched on an accelerator, attention as one (`dymo.bench.launches`), of an
evaluation that is not the first of its run: that one also computes the keys and values of the words, which are kept. Reads: how
often the host waits for a number of the device in a whole step.

Exit status 1 where a count is over its limit, unless --no-check.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import sys
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from unittest import mock

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from transformers import CLIPModel, CLIPTokenizer

from dymo import DyMO
from dymo.bench.flops import flop_counter
from dymo.bench.launches import Launches
from dymo.events import Accepted
from dymo.generation import call as generation
from dymo.generation.aims import Aims
from dymo.pipelines import attention
from dymo.pipelines.families import family_of
from dymo.pipelines.way_back import WayBack
from dymo.prompt.graph import Attribute, Entity, SemanticGraph
from dymo.report.atomic import write_text
from dymo.report.table import Column, Table
from dymo.rewards.clip import CLIPReward, vit_h_config

from . import published

GRAPH = SemanticGraph(
    "a red apple and a green car",
    (
        Entity("apple", (6, 11), (Attribute("red", (2, 5)),)),
        Entity("car", (24, 27), (Attribute("green", (18, 23)),)),
    ),
)

PARTS = tuple(f"{part} {way}" for part in ("denoiser", "decode", "reward") for way in ("forward", "backward"))

# At one step, the borders that put it into a stage.
STAGES = {"semantic": (0.0, 0.0), "mixed": (1000.0, 0.0), "preference": (1000.0, 1000.0)}

# Acceptance, TFLOP: (semantic, preference).
LIMITS = {
    ("SD1.5", "default"): (2.6, 9.4),
    ("SD1.5", "fast"): (2.2, 3.7),
    ("SDXL", "default"): (25.5, 52.0),
    ("SDXL", "fast"): (19.6, 23.5),
}

# Acceptance for a transformer, in unguided evaluations: (semantic, preference with the tiny decoder).
SHARES = {"FLUX.1-dev": (1.45, 1.05)}

# The reference implementation: TFLOP (semantic, preference) and peak GB, counted once on the authors' program, not by this command.
CITED = "reference implementation (cited)"
REFERENCE = {"SD1.5": (9.2, 16.5, 11.8), "SDXL": (39.5, 58.2, 38.0)}


FAMILIES = (*REFERENCE, *published.DENOISERS)

# Acceptance, kernels in eager mode: (semantic, preference with the tiny decoder).
KERNELS = {"SD1.5": (1500, 1700), "SDXL": (3000, 2700)}

VIEWS = (1, 2, 4, 11)
TERA, GIGA = 10**12, 10**9


# What counts.


class Answers(TorchDispatchMode):
    """Answers 1 where a number is read out of a fake tensor."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and isinstance(args[0], FakeTensor):
            return torch.ones((), dtype=args[0].dtype).item()
        return func(*args, **(kwargs or {}))


class LiveBytes(Answers):
    """Bytes of the storages that operations bring into being, by weak references: alive `now`, and at the `peak`."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: dict[int, tuple[Any, int]] = {}
        self._ignored: dict[int, Any] = {}

    def ignore(self, *tensors: Tensor) -> None:
        """Leave these storages out, for good."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key = storage._cdata
            self._ignored[key] = weakref.ref(storage, lambda _, key=key: self._ignored.pop(key, None))

    def restart(self) -> None:
        """From here on nothing that is alive now counts."""
        for key, (reference, _) in self._seen.items():
            self._ignored[key] = reference
        self._seen.clear()
        self.now = self.peak = 0

    def _forget(self, key: int) -> None:
        if key in self._seen:
            self.now -= self._seen.pop(key)[1]
        self._ignored.pop(key, None)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = super().__torch_dispatch__(func, types, args, kwargs)
        for tensor in tree_iter(out):
            if isinstance(tensor, Tensor):
                self._see(tensor.untyped_storage())
        return out

    def _see(self, storage: Any) -> None:
        key = storage._cdata
        if key in self._seen or key in self._ignored:
            return
        size = storage.nbytes()
        self._seen[key] = (weakref.ref(storage, lambda _, key=key: self._forget(key)), size)
        self.now += size
        self.peak = max(self.peak, self.now)


@dataclass
class Account:
    """One evaluation: operations by part, and bytes. Open it around the call; `begin` and `end` delimit what counts."""

    flops: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*PARTS, "other"), 0))
    kept: int = 0
    peak: int = 0

    @property
    def total(self) -> int:
        return sum(self.flops.values())

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        self._counter, self._live, self._mark, self._running = flop_counter(), LiveBytes(), 0, False
        with self._counter, self._live:
            yield

    def begin(self) -> None:
        self._mark, self._running = self._counter.get_total_flops(), True
        self._live.restart()

    def end(self) -> None:
        self.book("other")
        self.peak, self._running = self._live.peak, False

    def ignore(self, *tensors: Tensor) -> None:
        self._live.ignore(*tensors)

    def book(self, part: str) -> None:
        """What was spent since the last booking belongs to `part`."""
        if self._running:
            now = self._counter.get_total_flops()
            self.flops[part] += now - self._mark
            self._mark = now

    def forward(self, part: str, f: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """`f` with its forward and its backward booked to `part`.

        The backward goes from the last operation to the first: when a gradient arrives at what went into `f`, that of
        `f` is done.
        """

        def call(entering: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            self.book("other")
            if entering.requires_grad:
                entering.register_hook(lambda _: self.book(f"{part} backward"))
            out = f(entering, *args, **kwargs)
            self.book(f"{part} forward")
            return out

        return call

    def backward(self, f: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """`f` differentiates; what no other part has booked by its end is the denoiser's."""

        def call(*args: Any, **kwargs: Any) -> Tensor:
            self.book("other")
            self.kept = self._live.now
            out = f(*args, **kwargs)
            self.book("denoiser backward")
            return out

        return call


# What is counted.


def without_weights(build: Callable[[], nn.Module], mode: FakeTensorMode, dtype: torch.dtype = torch.half) -> Any:
    """The module that `build` makes, its parameters fake."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with mode:
            return build().eval()
    finally:
        torch.set_default_dtype(before)


def _unet(**settings: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(in_channels=4, out_channels=4, layers_per_block=2, norm_num_groups=32, **settings)


def unet_sd15() -> UNet2DConditionModel:
    return _unet(
        sample_size=64,
        block_out_channels=(320, 640, 1280, 1280),
        down_block_types=(*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"),
        up_block_types=("UpBlock2D", *["CrossAttnUpBlock2D"] * 3),
        cross_attention_dim=768,
        attention_head_dim=8,  # the number of heads, as diffusers reads it
    )


def unet_sdxl() -> UNet2DConditionModel:
    return _unet(
        sample_size=128,
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=(5, 10, 20),
        cross_attention_dim=2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )


def vae(size: int, scaling_factor: float, **settings: Any) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        sample_size=size,
        scaling_factor=scaling_factor,
        **settings,
    )


def clip_vit_h() -> CLIPModel:
    """The architecture of PickScore and HPSv2."""
    return CLIPModel(vit_h_config())


@functools.cache
def _tokenizer() -> CLIPTokenizer:
    """Letters are tokens: the words need positions, no more."""
    alphabet = sorted(ByteLevel.alphabet())
    tokens = [*alphabet, *(f"{letter}</w>" for letter in alphabet), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=[], model_max_length=77)


@dataclass
class Stack:
    """A pipeline, the tiny decoder for it, the reward, and what the pipeline is called with."""

    pipe: Any
    tiny: nn.Module
    reward: Any
    embeddings: dict[str, Any]

    @property
    def denoiser(self) -> nn.Module:
        return family_of(self.pipe).denoiser(self.pipe)

    def count(self, stage: str, preset: str, tiny: bool = False, **overrides: Any) -> Account:
        """What `DyMO` spends on one evaluation in a stage ("unguided" too)."""
        account = Account()
        with account.open(), self._marked(account):
            self._run(1, preset, tiny, account.end, _in_stage(stage) | overrides)
        return account

    def launches(self, preset: str, tiny: bool = False, steps: int = 2, **overrides: Any) -> list[tuple[int, int]]:
        """(kernels of the evaluation, host reads of the step) for each step of a run."""
        launches, kernels, reads = Launches(_is_fake), [], []

        def arrived(*_: Any) -> None:
            reads.append(launches.reads)
            launches.restart()

        with launches, Answers(), mock.patch.object(attention, "joins", lambda _: True):  # as on an accelerator
            handle = self.denoiser.register_forward_pre_hook(arrived)
            try:
                self._run(steps, preset, tiny, lambda: kernels.append(launches.kernels), overrides)
            finally:
                handle.remove()
        return list(zip(kernels, [*reads[1:], launches.reads], strict=True))

    def _run(
        self, steps: int, preset: str, tiny: bool, accepted: Callable[[], None], overrides: dict[str, Any]
    ) -> None:
        preview = self.tiny if tiny else None
        # One step without classifier-free guidance would be optimised as a run of few steps.
        front = DyMO(self.reward, preset, preview_vae=preview, recurrences=0, few_steps="never", scouts=0, **overrides)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")
            warnings.filterwarnings("ignore", "the reward is used at none")  # one step, in the stage of the words
            warnings.filterwarnings("ignore", "the gradient is nan")  # "is it NaN?" is answered with 1, too
            front(
                self.pipe, graph=GRAPH, num_inference_steps=steps, output_type="latent",
                listeners=[lambda event: accepted() if isinstance(event, Accepted) else None],
                generator=torch.Generator().manual_seed(0), **self.embeddings,
            )  # fmt: skip

    @contextlib.contextmanager
    def _marked(self, account: Account) -> Iterator[None]:
        """The borders between the parts are told to `account`."""

        decoder, scorer = generation.decoder, Aims.scorer
        unet = self.denoiser
        for module in (unet, self.pipe.vae, self.tiny, getattr(self.reward, "model", None)):
            if module is not None:
                account.ignore(*module.parameters(), *module.buffers())
        handles = [
            unet.register_forward_pre_hook(lambda *_: account.begin()),
            unet.register_forward_hook(lambda *_: account.book("denoiser forward")),
        ]
        try:
            with (
                mock.patch.object(generation, "decoder", lambda *a, **k: account.forward("decode", decoder(*a, **k))),
                mock.patch.object(Aims, "scorer", lambda *a, **k: account.forward("reward", scorer(*a, **k))),
                mock.patch.object(WayBack, "__call__", account.backward(WayBack.__call__)),
            ):
                yield
        finally:
            for handle in handles:
                handle.remove()


def _in_stage(stage: str) -> dict[str, Any]:
    """The settings with which all steps of a run are in a stage."""
    if stage == "unguided":
        return {"semantic_weight": 0.0, "preference_weight": 0.0}
    return {"borders": STAGES[stage]}


def _is_fake(x: Tensor) -> bool:
    return isinstance(x, FakeTensor)


def reward_of(model: CLIPModel) -> CLIPReward:
    """`model`, of fake weights, as the library's reward, with GRAPH's prompt already encoded."""
    model.to = lambda *_args, **_kwargs: model  # fake weights cannot be moved
    with Answers(), torch.no_grad():
        reward = CLIPReward(model, _tokenizer(), "ViT-H/14")
        reward.score(torch.rand(1, 3, 64, 64), [GRAPH.prompt])
    return reward


def _scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1,
    )  # fmt: skip


def stack(family: str, mode: FakeTensorMode, reward: CLIPReward) -> Stack:
    """A family as it is published, its weights fake."""
    return assembled(family, lambda build, dtype: without_weights(build, mode, dtype), reward)


def stacks(families: Iterable[str]) -> Iterator[tuple[str, FakeTensorMode, Stack]]:
    """Each family, the mode that its weights are fake in, and its stack; all have one reward."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    reward = reward_of(without_weights(clip_vit_h, mode))
    for family in families:
        yield family, mode, stack(family, mode, reward)


def assembled(family: str, made: published.Fake, reward: CLIPReward, decoding: torch.dtype = torch.float) -> Stack:
    """A family as it is published, its modules made by `made(build, dtype)`; decoding: the precision of a UNet's own VAE."""
    if family in published.DENOISERS:
        pipe, call = published.pipeline(family, made, _tokenizer())
        return Stack(pipe, made(published.tiny, torch.bfloat16), reward, call)
    xl = family == "SDXL"
    width, side, factor = (2048, 1024, 0.13025) if xl else (768, 512, 0.18215)
    shapes = {"prompt_embeds": (1, 77, width), "negative_prompt_embeds": (1, 77, width)}
    if xl:
        shapes |= {"pooled_prompt_embeds": (1, 1280), "negative_pooled_prompt_embeds": (1, 1280)}
    # `decoder` would copy a half VAE to float32; fake weights cannot be converted, so it is born as the copy is.
    parts = dict(
        vae=made(functools.partial(vae, side, factor), decoding), unet=made(unet_sdxl if xl else unet_sd15, torch.half),
        scheduler=_scheduler(), text_encoder=None, tokenizer=_tokenizer(),
    )  # fmt: skip
    if xl:
        pipe = StableDiffusionXLPipeline(**parts, text_encoder_2=None, tokenizer_2=None, add_watermarker=False)
    else:
        rest = dict(safety_checker=None, feature_extractor=None, requires_safety_checker=False)
        pipe = StableDiffusionPipeline(**parts, **rest)
    pipe.set_progress_bar_config(disable=True)
    embeddings = {name: torch.zeros(shape, dtype=torch.half) for name, shape in shapes.items()}
    return Stack(pipe, made(AutoencoderTiny, torch.half), reward, embeddings)


# What is reported.


@dataclass(frozen=True)
class Row:
    """One counted evaluation. Operations are exact counts; `parts` add up to `flops`."""

    family: str
    setting: str
    stage: str
    flops: int
    limit_tflop: float | None
    parts: dict[str, int]
    kept_bytes: int
    peak_bytes: int
    views: int = 1

    @property
    def over(self) -> bool:
        return self.limit_tflop is not None and self.flops > self.limit_tflop * TERA


@dataclass(frozen=True)
class Launched:
    """The kernels of one evaluation, and the host reads of its step; the first evaluation of a run launches more."""

    family: str
    setting: str
    stage: str
    kernels: int
    first: int
    reads: int
    limit: int | None

    @property
    def over(self) -> bool:
        return self.limit is not None and (self.kernels > self.limit or self.reads > 1)


# (what it is called, whose limits hold, the preset, with the tiny decoder, other settings)
SETTINGS = (
    ("default", "default", "default", False, {}),
    ("fast", "fast", "fast", True, {}),
    ("fast, gradient=conditional", "fast", "fast", True, {"gradient": "conditional"}),
)
HALF_VAE = "default, VAE in half"
TINY = "default, tiny decoder"
# (what it is called, with the tiny decoder, other settings) for the transformers, whose default is straight-through
OF_TRANSFORMERS = (
    ("default", False, {}),
    (TINY, True, {}),
    ("gradient=full, tiny decoder", True, {"gradient": "full"}),
    ("gradient=full, checkpointing, tiny decoder", True, {"gradient": "full", "checkpointing": True}),
)


def measure(families: Sequence[str] = FAMILIES, say: Callable[[Row], None] = lambda _: None) -> list[Row]:
    """All evaluations of the report; `say` hears of each."""
    rows: list[Row] = []
    for family, mode, one in stacks(families):

        def note(
            setting: str, stage: str, account: Account, limit: float | None = None, views: int = 1, family: str = family
        ) -> None:
            found = (account.total, limit, dict(account.flops), account.kept, account.peak, views)
            rows.append(Row(family, setting, stage, *found))
            say(rows[-1])

        alone = one.count("unguided", "default")
        note("the pipeline alone", "unguided", alone)
        if family in published.DENOISERS:
            shares = dict(zip(("semantic", "preference"), SHARES.get(family, (None, None)), strict=True))
            for setting, tiny, overrides in OF_TRANSFORMERS:
                for stage in ("semantic", "preference") if setting == TINY else ("preference",):
                    share = shares[stage] if setting == TINY else None
                    limit = share and share * alone.total / TERA
                    note(setting, stage, one.count(stage, "default", tiny, **overrides), limit)
            continue
        for setting, of, preset, tiny, overrides in SETTINGS:
            for stage, limit in zip(("semantic", "preference"), LIMITS[family, of], strict=True):
                note(setting, stage, one.count(stage, preset, tiny, **overrides), limit)
        if family == "SD1.5":
            for views in VIEWS[1:]:
                note("fast", "preference", one.count("preference", "fast", True, views=views), views=views)
        old = one.pipe.vae.config
        half = functools.partial(vae, old.sample_size, old.scaling_factor, force_upcast=False)
        one.pipe.vae = without_weights(half, mode)
        note(HALF_VAE, "preference", one.count("preference", "default"))
    return rows


# (what it is called, stage, preset, with the tiny decoder)
LAUNCHED = (
    ("the pipeline alone", "unguided", "default", False),
    ("fast", "semantic", "fast", True),
    ("fast", "mixed", "fast", True),
    ("fast", "preference", "fast", True),
    ("paper", "preference", "paper", False),
)


def launched(families: Sequence[str] = FAMILIES, say: Callable[[Launched], None] = lambda _: None) -> list[Launched]:
    """The kernels and host reads of the report."""
    found: list[Launched] = []
    for family, _, one in stacks(families):
        limits = dict(zip(("semantic", "preference"), KERNELS.get(family, (None, None)), strict=True))
        for setting, stage, preset, tiny in LAUNCHED:
            (first, _), (kernels, reads) = one.launches(preset, tiny, **_in_stage(stage))
            limit = limits.get(stage) if setting == "fast" else None
            found.append(Launched(family, setting, stage, kernels, first, reads, limit))
            say(found[-1])
    return found


def launch_table(found: Sequence[Launched]) -> Table:
    columns = [
        Column("family"),
        Column("setting"),
        Column("stage"),
        *(Column(name, 0) for name in ("kernels", "limit", "first", "reads")),
    ]
    return Table(columns, [(x.family, x.setting, x.stage, x.kernels, x.limit, x.first, x.reads) for x in found])


def tables(rows: Sequence[Row]) -> dict[str, Table]:
    """title -> table: the evaluations, their parts, the reward's views."""
    numbers = [
        Column("TFLOP", 2),
        Column("limit", 1),
        Column("x unguided", 2),
        Column("kept GB", 2),
        Column("peak GB", 2),
    ]
    plain = {row.family: row.flops for row in rows if row.stage == "unguided"}
    whole, parts = [], []
    for family in plain:
        mine = [row for row in rows if row.family == family and row.views == 1]
        for row in mine:
            whole.append(
                (family, row.setting, row.stage, row.flops / TERA, row.limit_tflop, row.flops / plain[family],
                 row.kept_bytes / GIGA, row.peak_bytes / GIGA)
            )  # fmt: skip
            parts.append((family, row.setting, row.stage, *(row.parts[part] / TERA for part in PARTS)))
        if family not in REFERENCE:
            continue
        *spent, peak = REFERENCE[family]
        for stage, flop in zip(("semantic", "preference"), spent, strict=True):
            # The note gives one peak for both stages.
            whole.append((family, CITED, stage, flop, None, flop * TERA / plain[family], None, peak))
    names = [Column("family"), Column("setting"), Column("stage")]
    found = {
        "One evaluation": Table(names + numbers, whole),
        "TFLOP by part": Table(names + [Column(part, 2) for part in PARTS], parts),
    }
    seen = [row for row in rows if (row.family, row.setting, row.stage) == ("SD1.5", "fast", "preference")]
    if seen:
        columns = [
            Column("views", 0),
            *(Column(part, 2) for part in PARTS[-2:]),
            Column("evaluation", 2),
            Column("peak GB", 2),
        ]
        cells = [
            (r.views, *(r.parts[part] / TERA for part in PARTS[-2:]), r.flops / TERA, r.peak_bytes / GIGA) for r in seen
        ]
        found["Views of the reward (SD1.5, fast, preference; TFLOP)"] = Table(columns, cells)
    return found


NOTES = (
    "One guided evaluation of the denoiser at real sizes, counted without weights on the library's own code (`python -m tools.cost`): one "
    "image, two rows of the denoiser (classifier-free guidance; one of FLUX.1-dev and Z-Image-Turbo), reward CLIP ViT-H/14, half precision. "
    "2 operations a multiply-add. limit: what the count may be; above it the command fails.",
    'default: the pipeline\'s own VAE. fast: the preset "fast" with preview_vae=AutoencoderTiny, as its limits suppose.',
    f"{HALF_VAE}: a VAE whose configuration has force_upcast false; otherwise the library decodes in float32.",
    "SD3.5, FLUX.1, Z-Image: the default leaves the denoiser out of the preference's gradient (straight-through).",
    f"{CITED}: counted once on the authors' program, not by this command; its peak is of both stages.",
    "kept: alive when the backward starts; peak: the most that is ever alive. Parameters not included.",
    "kernels: operations that an accelerator would launch for an evaluation, in eager mode; first: for the first one of a run, which "
    "also computes the words' keys and values; reads: numbers that the host waits for in a step, in one transfer each.",
)


LAUNCHES = "Kernels and host reads"


def as_json(rows: Sequence[Row], launches: Sequence[Launched] = ()) -> str:
    cited = {
        family: {"semantic_tflop": a, "preference_tflop": b, "peak_gb": peak}
        for family, (a, b, peak) in REFERENCE.items()
    }
    found = {
        "rows": [asdict(row) for row in rows], "launches": [asdict(x) for x in launches], "reference_cited": cited, "notes": NOTES,
    }  # fmt: skip
    return json.dumps(found, indent=2) + "\n"


def as_markdown(rows: Sequence[Row], launches: Sequence[Launched] = ()) -> str:
    blocks = ["# What a guided evaluation costs", *(f"- {note}" for note in NOTES)]
    for title, table in (tables(rows) | {LAUNCHES: launch_table(launches)}).items():
        blocks += ["", f"## {title}", "", table.to_markdown()]
    return "\n".join(blocks) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser("python -m tools.cost", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--family", choices=FAMILIES, action="append", help="only this one")
    parser.add_argument("--json", metavar="FILE", help="write every count there")
    parser.add_argument("--markdown", metavar="FILE", help="write the tables there")
    parser.add_argument(
        "--check", action=argparse.BooleanOptionalAction, default=True, help="fail over a limit (default)"
    )
    chosen = parser.parse_args(arguments)

    def say(row: Row) -> None:
        views = f", {row.views} views" if row.views > 1 else ""
        print(
            f"{row.family}, {row.setting}, {row.stage}{views}: {row.flops / TERA:.2f} TFLOP",
            file=sys.stderr,
            flush=True,
        )

    rows = measure(chosen.family or FAMILIES, say)

    def told(x: Launched) -> None:
        print(f"{x.family}, {x.setting}, {x.stage}: {x.kernels} kernels", file=sys.stderr, flush=True)

    launches = launched(chosen.family or FAMILIES, told)
    for title, table in (tables(rows) | {LAUNCHES: launch_table(launches)}).items():
        print(f"\n{title}\n{table.to_text()}")
    print("", *NOTES, sep="\n")
    if chosen.json:
        write_text(chosen.json, as_json(rows, launches))
    if chosen.markdown:
        write_text(chosen.markdown, as_markdown(rows, launches))
    over = [row for row in rows if row.over]
    for row in over:
        print(
            f"over its limit: {row.family}, {row.setting}, {row.stage}: {row.flops / TERA:.3f} > {row.limit_tflop} TFLOP",
            file=sys.stderr,
        )
    many = [x for x in launches if x.over]
    for x in many:
        print(
            f"over its limit: {x.family}, {x.setting}, {x.stage}: {x.kernels} > {x.limit} kernels, or {x.reads} > 1 host reads",
            file=sys.stderr,
        )
    return 1 if (over or many) and chosen.check else 0


if __name__ == "__main__":
    sys.exit(main())
