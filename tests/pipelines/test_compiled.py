"""Compiled runs: the numbers of the eager ones, nothing compiled after the rehearsal, nothing left behind."""

import flows
import pytest
import tiny
import torch
from diffusers import AutoencoderTiny
from torch._dynamo.utils import counters

from dymo import ConfigError, DyMO
from dymo.events import Accepted, Compiled
from dymo.pipelines.compiled import compiled, repeated, with_compiled

PIPELINES = {
    "sdxl": lambda: tiny.sdxl(unet=tiny.unet_xl(**tiny.ONE_LEVEL, transformer_layers_per_block=(1,))),
    "sd3": lambda: flows.sd3(),
}


@pytest.mark.parametrize("kind", PIPELINES)
def test_a_compiled_run_is_the_eager_one_and_compiles_nothing_after_its_rehearsal(kind):
    pipe = PIPELINES[kind]()
    denoiser = pipe.transformer if kind == "sd3" else pipe.unet
    torch.manual_seed(3)
    preview = AutoencoderTiny(decoder_block_out_channels=(8, 8), num_decoder_blocks=(1, 1)).eval()
    # Semantic, mixed and preference steps.
    settings = dict(
        preset="fast", scouts=0, borders_by="progress", borders=(0.4, 0.6), h=0.0, max_recurrences=1, eta=0.02, record_maps=True,
        preview_vae=preview,
    )  # fmt: skip

    def run(backend, graphs):
        seeds = [torch.Generator().manual_seed(i) for i in range(2)]

        def listen(event):
            if isinstance(event, (Accepted, Compiled)):
                graphs.append((type(event), counters["stats"]["unique_graphs"]))

        aligner = DyMO(tiny.brightness, compile=backend, **settings)
        return aligner(pipe, [tiny.PROMPT] * 2, generator=seeds, listeners=[listen], **tiny.SMALL, **(flows.T5 if kind == "sd3" else {}))

    # Of the two images one goes back once, and the other stays as it is, in the shapes of both. A flow has no way back from pure noise.
    which = int(kind == "sd3")
    settings["h"] = (2 / sum(run(False, []).trace.steps[which].gradient_norm), 0.0, 0.0)
    eager = run(False, [])
    assert eager.trace.steps[which].recurrences in ([0, 1], [1, 0])
    assert {step.stage for step in eager.trace.steps} == {"semantic", "mixed", "preference"}
    before = counters["stats"]["unique_graphs"]
    for again in (False, True):
        graphs = []
        found = run("aot_eager", graphs)
        assert [kind for kind, _ in graphs] == [Compiled] * (not again) + [Accepted] * len(eager.trace.steps)
        assert len({n for _, n in graphs}) == 1 and (again or graphs[0][1] > before)
        assert (found.trace.cost.compile_seconds == 0) == again
        assert found.trace.evaluations == eager.trace.evaluations
        tiny.assert_same_run(found, eager)
        for theirs in eager.trace.steps:
            for word, theirs_map in eager.trace.maps.get(theirs.index, {}).items():
                torch.testing.assert_close(
                    torch.tensor(found.trace.maps[theirs.index][word]), torch.tensor(theirs_map), atol=1.5e-3, rtol=0
                )
    assert not any("forward" in vars(m) for part in (denoiser, preview) for m in part.modules())


def test_what_something_watches_or_wraps_is_not_compiled():
    unet = tiny.unet(**tiny.ONE_LEVEL).requires_grad_(False)
    every = repeated(unet)  # with processors of diffusers' own, and none of them read
    attention = unet.down_blocks[0].attentions[0].transformer_blocks[0]
    assert attention in every and attention not in repeated(unet, [attention.attn2])
    attention.attn1.to_q.register_forward_hook(lambda *_: None)
    with compiled(every, "eager") as count:
        assert count == len(every) - 1


@pytest.mark.parametrize("make", [tiny.vae, AutoencoderTiny])
def test_nothing_that_interpolates_is_compiled_with_a_decoder(make):
    """Inductor gave a VAE's decoder, compiled whole, a gradient of zero."""
    torch._dynamo.reset()
    operations, vae = [], make().eval().requires_grad_(False)

    def backend(graph, _inputs):
        operations.extend(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return graph.forward

    def gradient(function):
        z = torch.randn(1, vae.config.latent_channels, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
        return torch.autograd.grad(function(z).square().sum(), z)[0]

    eager = gradient(vae.decoder)
    torch.testing.assert_close(gradient(with_compiled(vae.decoder, vae.decoder, backend)), eager)
    assert operations and not any("interpolate" in one for one in operations)
    assert not any("forward" in vars(m) for m in vae.modules())


def test_a_backend_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="compile=3: give True, False, 'graphs', 'graphs.inductor', or the name"):
        DyMO(None, compile=3)
