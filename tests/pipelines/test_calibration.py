"""Which attention layers agree early with the final maps: all layers, each its own maps, and the pipeline as it was."""

from __future__ import annotations

import flows
import pytest
import tiny
import torch
import zoo

from dymo import ConfigError, DyMO, PromptError, SemanticGraph
from dymo.guidance.loop import Need
from dymo.pipelines.calibration import _correlation, calibrate
from dymo.pipelines.families import family_of
from dymo.pipelines.loop import PipelineLoop
from dymo.trace import Cost

GRAPH = SemanticGraph.from_json(
    {"prompt": tiny.PROMPT, "entities": [{"text": t, "attributes": [a]} for t, a in (("apple", "red"), ("car", "green"))]}
)
CASES = {"sd": zoo.case(zoo.sd, **zoo.SQUARE), "sd3": flows.FAMILIES["sd3"]}


@pytest.mark.parametrize("name", CASES)
def test_every_layer_is_compared_and_the_pipeline_is_as_before(name):
    case = CASES[name]
    pipe = zoo.seeded(case.make)()
    before = case.run(pipe)
    layers = DyMO(None).layers(pipe, case.prompt, graph=GRAPH, **case.kwargs)
    assert torch.equal(torch.as_tensor(before), torch.as_tensor(case.run(pipe)))
    family = family_of(pipe)
    assert [layer.number for layer in layers] == list(range(sum(map(len, family.sizes(pipe)))))
    for layer in layers:
        assert len(layer.early) == len(layer.late) == 4  # words
        assert all(-1 <= value <= 1 for value in layer.early + layer.late)
    for numbers in family.sizes(pipe):
        assert len({layers[i].grid for i in numbers}) == 1
    assert {layer.name for layer in layers if layer.default} == set(family.taps(pipe, (16, 16), None, None).modules)


@pytest.mark.parametrize("name", CASES)
def test_the_mean_over_layers_is_what_the_objective_reads(name):
    case = CASES[name]
    pipe = zoo.seeded(case.make)()
    call = {**case.kwargs, "prompt": case.prompt, "generator": torch.Generator().manual_seed(0)}
    with torch.no_grad(), PipelineLoop(pipe, call, decode=lambda z0: z0, cost=Cost()) as loop:
        next(iter(loop))
        seen = loop.predict(need=Need(maps=True))
        each = loop.layers(seen)
    torch.testing.assert_close(torch.stack(list(each.values())).mean(0), seen.maps, atol=1e-6, rtol=1e-5)
    assert all(maps.shape == seen.maps.shape for maps in each.values())


def test_agreement_is_the_correlation_over_the_image():
    reference = torch.rand(2, 64, generator=torch.Generator().manual_seed(0))
    flat = torch.full_like(reference, 0.5)
    found = _correlation(torch.stack([3 * reference + 1, -reference, flat]), reference)
    torch.testing.assert_close(found, torch.tensor([[1.0, 1.0], [-1.0, -1.0], [0.0, 0.0]]), atol=1e-5, rtol=0)
    by_hand = torch.corrcoef(torch.stack([reference[0], reference[1]]))[0, 1]
    torch.testing.assert_close(_correlation(reference[:1][None], reference[1:])[0, 0], by_hand)


def test_what_cannot_be_compared_is_refused():
    pipe = zoo.seeded(zoo.sd)()
    with pytest.raises(PromptError, match="names nothing"):
        DyMO(None).layers(pipe, "a sea", graph={"prompt": "a sea", "entities": []}, num_inference_steps=2)
    with pytest.raises(ConfigError, match="seed"):
        DyMO(None).layers(pipe, tiny.PROMPT, graph=GRAPH, generator=torch.Generator())
    with pytest.raises(ValueError, match="no step"):
        call = dict(prompt=tiny.PROMPT, num_inference_steps=2, height=64, width=64)
        calibrate(pipe, [{"apple": (2,)}], lambda now: False, **call)
