"""On CUDA, where there is one: the CPU's numbers, graphs' and half precision's beside them, batches as one by one."""

import pytest
import tiny
import tiny_rewards
import torch
from diffusers import AutoencoderTiny

from dymo import DyMO, load_miniature, load_reward
from dymo.generation import scouts
from dymo.miniature import MINIATURE_DEFAULTS
from dymo.rewards.clip import CLIPReward
from tools.cost import GRAPH

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
    pytest.mark.filterwarnings("ignore:`upcast_vae` is deprecated:FutureWarning"),  # diffusers' own call of it
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"),  # torch's own, in inductor
]

SETTINGS = dict(preset="fast", borders_by="progress", borders=(0.4, 0.6), recurrences=0, eta=0.02)


@pytest.fixture(autouse=True)
def exact():
    """Products of float32 in float32, and convolutions too."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def run(pipe, images=2, seeds=None, reward=tiny.brightness, **settings):
    torch.manual_seed(3)
    preview = AutoencoderTiny(decoder_block_out_channels=(8, 8), num_decoder_blocks=(1, 1)).eval().to(pipe.device, pipe.dtype)
    seeds = [torch.Generator().manual_seed(i) for i in seeds or range(images)]
    aligner = DyMO(reward, **{**SETTINGS, "preview_vae": preview, **settings})
    return aligner(pipe, [GRAPH.prompt] * len(seeds), graph=[GRAPH] * len(seeds), generator=seeds, **tiny.SMALL)


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_a_run_is_the_cpus(kind):
    tiny.assert_same_run(run(getattr(tiny, kind)().to("cuda")), run(getattr(tiny, kind)()), 1e-3, 1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("kind, gradient", [("sd", "straight-through"), ("sd", "conditional"), ("sd", "full"), ("sdxl", "straight-through")])
def test_graphs_give_the_eager_run(kind, gradient, dtype):
    pipe = getattr(tiny, kind)().to("cuda", dtype)
    settings = dict(gradient=gradient, recurrences="dynamic", max_recurrences=1, h=0.0)
    norms = run(pipe, **settings).trace.steps[0].gradient_norm
    settings["h"] = (2 / sum(norms), 0.0, 0.0)
    eager, found = run(pipe, **settings), run(pipe, compile="graphs", **settings)
    exact = dtype == torch.float32
    tiny.assert_same_run(found, eager, 1e-4 if exact else 0.02, 1e-3 if exact else 0.05)
    assert found.trace.evaluations == eager.trace.evaluations


def test_compiled_parts_are_captured():
    pipe = tiny.sd().to("cuda", torch.float16)
    reward = CLIPReward(tiny_rewards.clip().half().to("cuda"), tiny.tokenizer(), "tiny")
    tiny.assert_same_run(run(pipe, reward=reward, compile="graphs+inductor"), run(pipe, reward=reward), 0.02, 0.05)


@pytest.mark.parametrize("compile", [True, "graphs+inductor"])
def test_the_gradient_passes_through_the_model_s_own_decoder_compiled(compile):
    pipe = tiny.sd().to("cuda")
    tiny.assert_same_run(run(pipe, preview_vae=None, compile=compile), run(pipe, preview_vae=None), 1e-3, 1e-3)


@pytest.mark.parametrize("compile", [False, "graphs"])
def test_a_batch_of_four_seeds_is_four_runs(compile):
    pipe = tiny.sd().to("cuda")
    together = run(pipe, 4, compile=compile)
    for i in range(4):
        one = run(pipe, seeds=[i], compile=compile)
        torch.testing.assert_close(one.images[0], together.images[i], atol=1e-3, rtol=0)


def test_seeds_begun_at_once_are_those_begun_in_turns(monkeypatch):
    pipe, sizes = tiny.sd().to("cuda"), []
    fitting = scouts._fitting
    monkeypatch.setattr(scouts, "_fitting", lambda *given: sizes.append(fitting(*given)) or sizes[-1])
    settings = dict(scouts=3, scout_until=400.0, borders=(400, 400), borders_by="timestep")
    together = run(pipe, 1, **settings)
    assert sizes and sizes[0] > 1
    monkeypatch.setattr(scouts, "_fitting", lambda *_: 1)
    turns = run(pipe, 1, **settings)
    torch.testing.assert_close(torch.tensor(together.trace.scouts), torch.tensor(turns.trace.scouts), atol=1e-4, rtol=0)
    tiny.assert_same_run(together, turns, 1e-3, 1e-3)


@pytest.mark.miniature
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_on_the_miniature(dtype):
    found = {}
    for kind in (torch.float32, dtype):
        pipe = load_miniature(dtype=kind).to("cuda")
        pipe.set_progress_bar_config(disable=True)
        aligner = DyMO(load_reward("mini-pickscore"), "fast", recurrences=0)
        # Older torch draws other noise in half precision.
        side = pipe.unet.config.sample_size
        latents = torch.randn(1, pipe.unet.config.in_channels, side, side, generator=torch.Generator().manual_seed(0)).to("cuda", kind)
        call = {**MINIATURE_DEFAULTS, "num_inference_steps": 8, "output_type": "pt", "latents": latents}
        found[kind] = aligner(pipe, GRAPH.prompt, graph=GRAPH, **call)
    half, whole = found[dtype], found[torch.float32]
    assert not sum(half.trace.failures.values())
    assert half.trace.steps[0].gradient_norm == pytest.approx(whole.trace.steps[0].gradient_norm, rel=0.1)
    assert (half.images.float() - whole.images.float()).abs().mean() < 0.1
