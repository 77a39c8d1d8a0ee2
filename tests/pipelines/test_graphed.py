"""Captured runs: the eager ones' numbers, from what was traced at the first call of each kind and nothing else."""

import threading
import weakref
from functools import partial

import pytest
import tiny
import tiny_rewards
import torch
from diffusers import AutoencoderTiny, StableDiffusionControlNetPipeline
from torch._dynamo.utils import counters
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from dymo import ConfigError, DyMO
from dymo.bench.launches import Launches
from dymo.compiling import Compiling
from dymo.events import Accepted, Begun, Compiled
from dymo.pipelines import attention, compiled, fused
from dymo.pipelines.graphed import Graphs
from dymo.rewards.clip import CLIPReward

TRACED: list = []
SMALL = {**tiny.SMALL, "height": 16, "width": 16}


class Tape(TorchDispatchMode):
    """The operations inside of it, and the memory that they read and wrote, in which `replay` does them again."""

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        assert operation is not torch.ops.aten._local_scalar_dense.default, "the host reads a value, and a graph cannot go on by it"
        found = operation(*args, **(kwargs or {}))
        # Detached: a graph holds memory, and neither autograd's nodes nor what these hold.
        self.operations.append((operation, *tree_map_only(torch.Tensor, torch.Tensor.detach, (args, kwargs or {}, found))))
        return found

    def replay(self):
        for operation, args, kwargs, found in self.operations:
            for place, x in zip(tree_leaves(found), tree_leaves(operation(*args, **kwargs)), strict=True):
                if isinstance(x, torch.Tensor) and x.data_ptr() != place.data_ptr():
                    place.copy_(x)


def trace(function, samples):
    """What `torch.cuda.make_graphed_callables` does, on any device: the operations of one forward and one backward, replayed.

    Whatever the function does in Python happens while it is traced, as with a CUDA graph; and each replay reads and writes the
    memory of the last one, between its forward and its backward too.
    """
    TRACED.append(function)
    samples = [x.detach().clone().requires_grad_(x.requires_grad) for x in samples]
    function(*samples)  # what is made once is not made in a graph
    with Tape() as forward:
        found = function(*samples)
    seeds = [torch.zeros_like(x) for x in found if x.requires_grad]
    with Tape() as backward:
        wanted = [x for x in samples if x.requires_grad]
        back = torch.autograd.grad([x for x in found if x.requires_grad], wanted, seeds, allow_unused=True) if seeds else ()
    kept, found, places = [x.requires_grad for x in found], [x.detach() for x in found], [x.detach() for x in samples]

    class Replayed(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *given):
            for place, x in zip(places, given, strict=True):
                place.copy_(x)
            forward.replay()
            return tuple(x.detach() for x in found)

        @staticmethod
        def backward(ctx, *grads):
            for place, x in zip(seeds, (g for g, keeps in zip(grads, kept, strict=True) if keeps), strict=True):
                place.copy_(x)
            backward.replay()
            rest = iter(back)
            return tuple(next(rest) if x.requires_grad else None for x in samples)

    return Replayed.apply


@pytest.fixture
def traced(monkeypatch):
    TRACED.clear()
    monkeypatch.setattr(Compiling, "graphs_for", lambda self, *_: Graphs(trace) if self.graphs else None)
    return TRACED


@pytest.fixture
def nothing_compiled():
    """What other tests' runs have compiled is forgotten."""
    fused._compiled.cache_clear()
    compiled._FUNCTIONS.clear()


def small(**parts):
    """Of one level: to trace takes as long as there are operations."""
    return tiny.sd(unet=tiny.unet(**tiny.ONE_LEVEL), **parts)


def test_the_seeds_that_are_begun_replay_the_graphs_of_the_first(traced):
    pipe = small()
    settings = dict(preset="fast", scouts=2, scout_until=400, h=0.0, eta=0.02, record_maps=True)

    def run(compile):
        seeds = [torch.Generator().manual_seed(i) for i in range(2)]
        return DyMO(tiny.brightness, compile=compile, **settings)(pipe, [tiny.PROMPT] * 2, generator=seeds, **SMALL)

    eager, found = run(False), run("graphs")
    assert 3 <= len(traced) <= 6
    torch.testing.assert_close(torch.tensor(found.trace.scouts), torch.tensor(eager.trace.scouts))
    tiny.assert_same_run(found, eager)


def test_what_the_seeds_need_is_compiled_before_the_first_is_begun(monkeypatch, nothing_compiled):
    pipe, told, cancel = small(), [], threading.Event()
    torch.manual_seed(3)
    preview = AutoencoderTiny(decoder_block_out_channels=(8, 8), num_decoder_blocks=(1, 1)).eval()
    reward = CLIPReward(tiny_rewards.clip(), tiny.tokenizer(), "tiny")
    monkeypatch.setattr(Compiling, "graphs_for", lambda self, *_: Graphs(lambda function, _: function) if self.graphs else None)

    def listen(event):
        told.append((type(event), counters["stats"]["unique_graphs"]))
        if isinstance(event, Begun):
            cancel.set()

    settings = dict(preset="fast", scouts=2, scout_until=400, borders_by="progress", borders=(0.4, 0.6), recurrences=0, preview_vae=preview)
    aligner = DyMO(reward, compile="graphs+aot_eager", **settings)
    seed = torch.Generator().manual_seed(0)
    found = aligner(pipe, tiny.PROMPT, generator=seed, listeners=[listen], cancel=cancel, **SMALL)
    (first, made), (second, begun) = told[:2]
    assert (first, second) == (Compiled, Begun) and made == begun > 0
    assert found.trace.cost.compile_seconds > 0


def test_what_a_graph_reads_outlives_the_loop_that_captured_it(monkeypatch):
    """Attention processors hold copies of weights, and go with the loop that made them."""
    pipe, held = small(), []

    def capture(function, samples):
        held.extend(map(weakref.ref, pipe.unet.attn_processors.values()))
        replay = trace(function, samples)
        TRACED.clear()

        def checked(*given):
            assert held and all(one() is not None for one in held)
            return replay(*given)

        return checked

    monkeypatch.setattr(attention, "joins", lambda _device: True)
    monkeypatch.setattr(Compiling, "graphs_for", lambda self, *_: Graphs(capture) if self.graphs else None)
    aligner = DyMO(tiny.brightness, preset="fast", scouts=1, scout_until=600, compile="graphs")
    found = aligner(pipe, tiny.PROMPT, generator=torch.Generator().manual_seed(0), **{**SMALL, "num_inference_steps": 3})
    assert len(found.trace.scouts[0]) == 2


@pytest.mark.parametrize("kind, gradient", [("sd", "conditional"), ("sd", "full"), ("sdxl", "straight-through")])
def test_a_captured_run_is_the_eager_one(kind, gradient, traced):
    pipe = small() if kind == "sd" else tiny.sdxl(unet=tiny.unet_xl(**tiny.ONE_LEVEL, transformer_layers_per_block=(1,)))
    torch.manual_seed(3)
    preview = AutoencoderTiny(decoder_block_out_channels=(8, 8), num_decoder_blocks=(1, 1)).eval()
    settings = dict(
        preset="fast", scouts=0, borders_by="progress", borders=(0.4, 0.6), h=0.0, max_recurrences=1, eta=0.02, record_maps=True,
        preview_vae=preview,
        gradient=gradient,
    )  # fmt: skip

    def run(compile):
        seeds = [torch.Generator().manual_seed(i) for i in range(2)]
        return DyMO(tiny.brightness, compile=compile, **settings)(pipe, [tiny.PROMPT] * 2, generator=seeds, **SMALL)

    settings["h"] = (2 / sum(run(False).trace.steps[0].gradient_norm), 0.0, 0.0)
    eager = run(False)
    assert eager.trace.steps[0].recurrences in ([0, 1], [1, 0])
    assert {step.stage for step in eager.trace.steps} == {"semantic", "mixed", "preference"}
    assert not traced
    found = run("graphs")
    assert 4 <= len(traced) <= 6  # the denoiser with and without a graph, the decoder, the reward
    assert found.trace.evaluations == eager.trace.evaluations
    tiny.assert_same_run(found, eager)


def test_what_is_captured_is_compiled_the_denoiser_in_its_small_functions(monkeypatch, nothing_compiled):
    pipe, made = small(), {"decoder": 0, "reward": 0, "denoiser": 0}
    torch.manual_seed(3)
    preview = AutoencoderTiny(decoder_block_out_channels=(8, 8), num_decoder_blocks=(1, 1)).eval()
    reward = CLIPReward(tiny_rewards.clip(), tiny.tokenizer(), "tiny")

    def capture(function, samples):
        before = counters["stats"]["unique_graphs"]
        function(*samples)
        channels = [x.shape[1] for x in samples if x.ndim == 4]
        kind = "denoiser" if len(samples) > 1 else {4: "decoder", 3: "reward"}[channels[0]]
        made[kind] += counters["stats"]["unique_graphs"] - before
        return function

    monkeypatch.setattr(Compiling, "graphs_for", lambda self, *_: Graphs(capture) if self.graphs else None)
    settings = dict(preset="fast", scouts=0, borders_by="progress", borders=(0.4, 0.6), recurrences=0, eta=0.02, preview_vae=preview)

    def run(compile):
        seed = torch.Generator().manual_seed(0)
        return DyMO(reward, compile=compile, **settings)(pipe, tiny.PROMPT, generator=seed, **SMALL)

    eager, found = run(False), run("graphs+aot_eager")
    tiny.assert_same_run(found, eager)
    assert all(made.values())
    assert found.trace.cost.compile_seconds > 0


@pytest.fixture
def computed_again(monkeypatch):
    """Graphs that are replayed by computing them again; how deep inside of them the run is."""
    inside = [0]

    def muted(function):
        def run(*given):
            inside[0] += 1
            try:
                return function(*given)
            finally:
                inside[0] -= 1

        return run

    class Eager(torch.autograd.Function):
        @staticmethod
        @muted
        def forward(ctx, function, *given):
            with torch.enable_grad():
                ctx.given = [x.detach().requires_grad_(x.requires_grad) for x in given]
                ctx.found = function(*ctx.given)
            return tuple(x.detach() for x in ctx.found)

        @staticmethod
        @muted
        def backward(ctx, *seeds):
            pairs = [(x, seed) for x, seed in zip(ctx.found, seeds, strict=True) if x.requires_grad]
            wanted = [x for x in ctx.given if x.requires_grad]
            back = iter(torch.autograd.grad([x for x, _ in pairs], wanted, [seed for _, seed in pairs]))
            return None, *(next(back) if x.requires_grad else None for x in ctx.given)

    monkeypatch.setattr(Compiling, "graphs_for", lambda self, *_: Graphs(lambda function, _: partial(Eager.apply, function)))
    return inside


def around_the_graphs(pipe, count):
    """What `count()` says, for each step of each stage of a run; 12 steps."""
    torch.manual_seed(3)
    preview, steps = AutoencoderTiny(decoder_block_out_channels=(8, 8), num_decoder_blocks=(1, 1)).eval(), {}

    def listen(event):
        if isinstance(event, Accepted):
            steps.setdefault(event.step.stage, []).append(count())

    aligner = DyMO(
        tiny.brightness, "fast", compile="graphs", preview_vae=preview, scouts=0, borders_by="progress", borders=(0.4, 0.6), recurrences=0
    )
    aligner(pipe, tiny.PROMPT, listeners=[listen], generator=torch.Generator().manual_seed(0), **{**SMALL, "num_inference_steps": 12})
    assert len(steps["semantic"]) > 3 and len(steps["preference"]) > 3
    return steps


def test_little_is_launched_one_by_one_around_the_graphs(computed_again):
    """On a GPU the host launches what is outside of graphs operation by operation, which takes longer than a small denoiser's forward."""
    launches = Launches(lambda _: not computed_again[0])

    def count():
        found = launches.kernels
        launches.restart()
        return found

    with launches:
        steps = around_the_graphs(tiny.sd(), count)
    assert max(steps["semantic"][1:]) <= 110 and max(steps["preference"][1:-1]) <= 90


def test_a_replayed_step_walks_through_no_modules(computed_again, monkeypatch):
    """Pipelines and models look through all of their modules to tell a device or processors: longer than a graph takes to be launched."""
    pipe, walks = tiny.sd(), []
    for name in ("named_modules", "named_children"):
        walk = getattr(torch.nn.Module, name)

        def counted(self, *args, walk=walk, **kwargs):
            if not computed_again[0]:
                walks.append(type(self))
            return walk(self, *args, **kwargs)

        monkeypatch.setattr(torch.nn.Module, name, counted)
    pipe._execution_device  # noqa: B018
    assert walks
    steps = around_the_graphs(pipe, lambda: (len(walks), walks.clear())[0])
    assert not any(sum(found[1:-1]) for found in steps.values())


def test_with_a_controlnet_what_is_read_may_not_depend_on_all_that_it_gives(traced):
    level = {key: tiny.ONE_LEVEL[key] for key in ("block_out_channels", "down_block_types")}
    pipe = small(kind=StableDiffusionControlNetPipeline, controlnet=tiny.controlnet(**level))

    def run(compile):
        seed = torch.Generator().manual_seed(0)
        image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
        aligner = DyMO(tiny.brightness, "fast", compile=compile, scouts=0, recurrences=0, borders_by="progress", borders=(0.4, 0.6))
        return aligner(pipe, tiny.PROMPT, image=image, generator=seed, **SMALL)

    eager, found = run(False), run("graphs")
    assert traced
    tiny.assert_same_run(found, eager)


def test_the_call_that_is_captured_lets_inputs_be_unused(monkeypatch):
    given = {}

    def capture(function, samples, **settings):
        given.update(settings)
        return function

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", capture)
    Graphs()("decoder", lambda x: (x,), [torch.zeros(1)])
    assert given["allow_unused_input"]


def test_a_second_gradient_through_one_call_is_refused(traced):
    class Parts:
        name, needs = "parts", "image"

        def loss(self, seen):
            return torch.stack([seen.images.mean((1, 2, 3)), seen.images[:, 0].mean((1, 2))])

    aligner = DyMO(None, "fast", compile="graphs", objectives=[Parts()], semantic_weight=0, scouts=0)
    with pytest.raises(ConfigError, match="passes a gradient back once"):
        aligner(small(), tiny.PROMPT, generator=torch.Generator().manual_seed(0), **SMALL)


def test_a_function_is_captured_once_a_kind(traced):
    graphs, factor = Graphs(trace), torch.tensor(3.0)
    x = torch.randn(4, requires_grad=True)
    for value in (x, x * 2, x - 1):
        (found,) = graphs("tripled", lambda y: (y * factor,), [value])
        (g,) = torch.autograd.grad(found.sum(), value)
        torch.testing.assert_close(found, 3 * value)
        torch.testing.assert_close(g, torch.full((4,), 3.0))
    assert len(traced) == 1
    graphs("tripled", lambda y: (y * factor,), [x.detach()])
    graphs("tripled", lambda y: (y * factor,), [x[:2]])
    assert len(traced) == 3


def test_what_cannot_be_captured_is_refused_by_name():
    def fails(*_):
        raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(ConfigError, match="the decoder cannot be captured .*not permitted.*leave out compile='graphs'"):
        Graphs(fails)("decoder", lambda x: (x,), [torch.zeros(1)])


def test_graphs_without_cuda_are_refused_before_anything_runs():
    with pytest.raises(ConfigError, match="need CUDA, and the pipeline is on cpu"):
        DyMO(tiny.brightness, compile="graphs")(tiny.sd(), tiny.PROMPT, **SMALL)
