"""Denoisers with quantised weights, from tiny files: guided straight-through, and by their maps where a gradient passes."""

from __future__ import annotations

import json

import flows
import layouts
import pytest
import tiny
import torch
from diffusers import FluxTransformer2DModel, GGUFQuantizationConfig, TorchAoConfig
from torch import nn

from dymo import DyMO, PipelineError, SemanticGraph
from dymo.pipelines.weights import keeps_weights, quantised

GRAPH = SemanticGraph.from_json(
    {
        "prompt": tiny.PROMPT,
        "entities": [{"text": "apple", "attributes": ["red"]}, {"text": "car", "attributes": ["green"]}],
    }
)
ALWAYS = dict(recurrences=0, borders_by="progress", borders=(0.0, 1.0), eta=0.05, damping=0.0, few_steps="never")


def as_gguf(net, folder):
    layouts.gguf(net, folder / "tiny.gguf")
    (folder / "config.json").write_text(json.dumps(dict(net.config)))
    return FluxTransformer2DModel.from_single_file(
        str(folder / "tiny.gguf"), config=str(folder), torch_dtype=torch.float32,
        quantization_config=GGUFQuantizationConfig(compute_dtype=torch.float32),
    )  # fmt: skip


def as_int8(net, folder, kind="Int8WeightOnlyConfig"):
    # Where it is installed, every process that imports diffusers imports it, two seconds long: so it is in no test's environment.
    quantization = pytest.importorskip("torchao.quantization", reason="pip install 'dymo-diffusion[quantized]'")
    net.save_pretrained(folder)
    settings = TorchAoConfig(getattr(quantization, kind)())
    return FluxTransformer2DModel.from_pretrained(folder, quantization_config=settings, torch_dtype=torch.bfloat16)


def as_int8_dynamic(net, folder):
    return as_int8(net, folder, "Int8DynamicActivationInt8WeightConfig")


class Rounded(nn.Linear):
    """8 bits a weight and a scale a row, as those of torchao; its product is one of floats, or of whole numbers."""

    floats = True

    def __init__(self, plain):
        super().__init__(plain.in_features, plain.out_features, plain.bias is not None)
        self.scale = plain.weight.detach().abs().amax(1, keepdim=True) / 127
        self.weight = nn.Parameter((plain.weight.detach() / self.scale).round().to(torch.int8), requires_grad=False)
        self.bias = plain.bias

    def forward(self, x):
        if self.floats:
            return nn.functional.linear(x, self.weight.float() * self.scale, self.bias)
        with torch.no_grad():
            size = x.abs().amax(-1, keepdim=True) / 127
            whole = (x / size.clamp_min(1e-8)).round() @ self.weight.float().T
            return whole * size * self.scale.T + (0 if self.bias is None else self.bias)


class WholeNumbers(Rounded):
    floats = False


def as_rounded(net, folder, kind=Rounded):
    for block in net.transformer_blocks:
        for name, layer in list(block.named_modules()):
            if isinstance(layer, nn.Linear):
                parent, _, child = name.rpartition(".")
                block.get_submodule(parent).__setattr__(child, kind(layer))
    return net


def as_whole_numbers(net, folder):
    return as_rounded(net, folder, WholeNumbers)


def pipeline(load, folder):
    """Everything beside the denoiser has its numbers' precision."""
    pipe = flows.flux()
    denoiser = load(pipe.transformer, folder).eval()
    others = ("vae", "text_encoder", "text_encoder_2")
    return flows.flux(transformer=denoiser, **{name: getattr(pipe, name).to(denoiser.dtype) for name in others})


def run(pipe, **settings):
    generator = torch.Generator().manual_seed(0)
    case = flows.FAMILIES["flux-dev"]
    return DyMO(tiny.brightness, **{**ALWAYS, **settings})(pipe, case.prompt, graph=GRAPH, generator=generator, **case.kwargs)


@pytest.mark.parametrize("load", [as_gguf, as_int8, as_rounded])
def test_both_objectives_pass_through_weights_of_8_bits(load, tmp_path):
    pipe = pipeline(load, tmp_path)
    assert len(quantised(pipe.transformer)) == 1 and keeps_weights(pipe.transformer) == (load is as_gguf)
    plain = run(pipe, semantic_weight=0, preference_weight=0)
    guided = run(pipe)
    assert guided.trace.config["gradient"] == "straight-through"
    for step in guided.trace.steps:
        assert step.displacement[0] > 0 and step.losses["semantic"][0] is not None
    assert (guided.images - plain.images).abs().max() > 0.01
    full = run(pipe, gradient="full", semantic_weight=0)
    assert full.trace.steps[1].gradient_norm[0] > 0
    assert not pipe.transformer.is_gradient_checkpointing


@pytest.mark.parametrize("load", [as_int8_dynamic, as_whole_numbers])
def test_where_no_gradient_passes_the_preference_alone_guides_and_the_rest_says_why_not(load, tmp_path):
    pipe = pipeline(load, tmp_path)
    with pytest.raises(PipelineError, match=r"weights are torch.*no gradient passes.*semantic objective needs.*set semantic_weight=0"):
        run(pipe)
    with pytest.raises(PipelineError, match=r"gradient='full' needs.*straight-through"):
        run(pipe, semantic_weight=0, gradient="full")
    guided = run(pipe, semantic_weight=0)
    assert all(step.displacement[0] > 0 for step in guided.trace.steps[1:])  # w is all for the words at first


def test_other_weights_are_not_quantised():
    assert not quantised(flows.flux().transformer)
