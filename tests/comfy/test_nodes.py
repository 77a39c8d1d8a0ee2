"""The nodes inside of a ComfyUI that is small, and as strict: everything there runs in torch's inference mode."""

import asyncio
import importlib.util
import inspect
import json
import sys
from pathlib import Path

import flows
import layouts
import numpy as np
import pytest
import tiny
import torch
from comfy_host import ComfyExtension, Host, Interrupted, forget

import dymo
from dymo import ConfigError, PipelineError, PromptError, RewardError
from dymo.miniature import WEIGHTS
from dymo.parts import Option

ROOT = Path(__file__).parents[2]
PROMPT = "a red apple and a green car"
STEPS = 4
pytestmark = pytest.mark.skipif(not (WEIGHTS / "pipeline").is_dir(), reason="the miniature's weights are missing")


@pytest.fixture
def host(monkeypatch):
    checkpoints = {"sub/one.safetensors": "/nowhere/one.safetensors", "old.ckpt": "/nowhere/old.ckpt"}
    found = Host({"checkpoints": checkpoints, "loras": {"style.safetensors": "/nowhere/style.safetensors"}})
    for name, module in found.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    forget()
    yield found
    forget()


@pytest.fixture
def nodes(host):
    import dymo.comfy

    async def there():
        extension = await dymo.comfy.comfy_entrypoint()
        assert isinstance(extension, ComfyExtension)
        return await extension.get_node_list()

    with torch.inference_mode():
        yield {node.GET_SCHEMA().node_id: node for node in asyncio.run(there())}


def asked(**more):
    return {"prompt": PROMPT, "steps": STEPS, "guidance_scale": 4.0, "seed": 3, **more}


def own(make=None, **more):
    """The images of the same call in Python, as ComfyUI has them; make: of the aligner."""
    call = {"num_inference_steps": STEPS, "guidance_scale": 4.0, "output_type": "pt", "generator": torch.Generator().manual_seed(3), **more}
    with torch.inference_mode(False):
        pipe = dymo.load_miniature()
        pipe.set_progress_bar_config(disable=True)
        output = pipe(PROMPT, **call) if make is None else make()(pipe, PROMPT, **call)
        return output.images.detach().float().clamp(0, 1).permute(0, 2, 3, 1)


def test_every_node_says_what_its_execute_takes(nodes):
    assert nodes["DymoLoadCheckpoint"].GET_SCHEMA().inputs[0].options == ["sub/one.safetensors"]
    assert list(nodes) == ["DymoLoadPipeline", "DymoLoadCheckpoint", "DymoLora", "DymoReward", "DymoGraph", "DymoGenerate"]
    for node in nodes.values():
        schema, takes = node.GET_SCHEMA(), inspect.signature(node.execute).parameters
        assert schema.description and schema.category == "DyMO" and schema.display_name.startswith("DyMO: ")
        if not any(p.kind is p.VAR_KEYWORD for p in takes.values()):
            assert {one.id for one in schema.inputs} == set(takes)
        for one in schema.inputs:
            options = getattr(one, "options", None)
            if options is not None and one.default is not None:
                assert one.default in options
            if one.optional:
                assert takes[one.id].default is not inspect.Parameter.empty


def test_a_workflow_gives_the_images_and_the_trace_of_the_same_call_in_python(nodes, host):
    pipeline = nodes["DymoLoadPipeline"].run()[0]
    reward = nodes["DymoReward"].run(name="mini-pickscore")[0]
    graph, written, short = nodes["DymoGraph"].run(prompt=PROMPT).args
    assert short == "together: red apple, green car\napart: apple / car" and json.loads(written)["prompt"] == PROMPT
    call, settings = asked(batch_size=2, width=64, height=64), '{"scouts": 1}'
    images, trace = nodes["DymoGenerate"].run(pipeline=pipeline, reward=reward, graph=graph, settings=settings, **call).args
    assert images.shape == (2, 64, 64, 3) and images.dtype == torch.float32 and images.device.type == "cpu"
    expected = own(lambda: dymo.DyMO("mini-pickscore", "fast", scouts=1), num_images_per_prompt=2, width=64, height=64)
    assert torch.equal(images, expected)
    said = json.loads(trace)
    assert len(said["steps"]) == STEPS and said["prompts"] == [PROMPT] * 2
    assert host.unloaded == 2 and 'Pipeline' not in repr(pipeline)
    # Progress of the seeds that are begun, and then of the steps; previews are pictures of the same size.
    assert host.shown[-1][:3] == (STEPS, STEPS, "7")
    assert all(0 <= done <= steps and steps > 0 for done, steps, *_ in host.shown)
    previews = [preview for *_, preview in host.shown if preview is not None]
    assert previews and {preview.size for preview in previews} == {(64, 64)} and not any(np.ptp(np.asarray(p)) == 0 for p in previews)


def test_one_pipeline_at_a_time_is_on_the_device(nodes):
    """ComfyUI keeps the pipelines of earlier inputs: a device that they fill is stood for by `meta`."""
    from dymo.comfy import work

    class Part:
        device = torch.device("meta")

        def to(self, device):
            self.device = torch.device(device)

    first, second, offloaded = (work.Loaded(Part(), Part(), "meta", moves) for moves in (True, True, False))
    work._only(second)
    places = [[part.device.type for part in (one.pipe, one.preview_vae)] for one in (first, second, offloaded)]
    assert places == [["cpu", "cpu"], ["meta", "meta"], ["meta", "meta"]]
    work._only(first)
    assert (first.pipe.device.type, second.pipe.device.type) == ("meta", "cpu")
    nodes["DymoLoadPipeline"].run()
    assert first.pipe.device.type == "cpu"


def test_comfyui_is_told_what_a_pipeline_holds(nodes):
    (loaded,) = nodes["DymoLoadPipeline"].run()
    held = sum(tensor.nbytes for tensor in loaded._comfy_cache_tensors())
    parts = (part for part in loaded.pipe.components.values() if isinstance(part, torch.nn.Module))
    assert held >= sum(p.nbytes for part in parts for p in part.parameters()) > 10 * 2**20


def test_unguided_is_the_pipeline_s_own_image(nodes):
    pipeline = nodes["DymoLoadPipeline"].run()[0]
    images, _ = nodes["DymoGenerate"].run(pipeline=pipeline, preset="unguided", **asked()).args
    assert torch.equal(images, own())


def test_settings_budget_size_and_a_corrected_graph_arrive(nodes):
    pipeline = nodes["DymoLoadPipeline"].run(scheduler="euler", preview_vae=str(WEIGHTS / "taesd"))[0]
    assert type(pipeline.pipe.scheduler).__name__ == "EulerDiscreteScheduler" and type(pipeline.preview_vae).__name__ == "AutoencoderTiny"
    corrected = json.dumps({"prompt": PROMPT, "entities": [{"text": "apple", "attributes": ["red"]}]})
    graph, _, short = nodes["DymoGraph"].run(prompt="", corrected=corrected).args
    assert short == "together: red apple\napart: nothing"
    _, trace = nodes["DymoGenerate"].run(
        pipeline=pipeline, graph=graph, settings='{"scouts": 0, "recurrences": 0}', evaluations=STEPS, width=144, height=128, **asked()
    ).args
    said = json.loads(trace)
    assert said["config"]["scouts"] == 0 and said["evaluations"] == [STEPS] and len(said["graphs"][0]["entities"]) == 1


def test_rewards_and_loras_are_chained(nodes):
    first = nodes["DymoReward"].run(name="mini-pickscore", weight=0.5)[0]
    both = nodes["DymoReward"].run(name="mini-aesthetic", weight=2.0, others=first)[0]
    assert [(reward.name, weight) for reward, weight in both] == [("mini-pickscore", 0.5), ("mini-aesthetic", 2.0)]
    pipeline = nodes["DymoLoadPipeline"].run()[0]
    images, _ = nodes["DymoGenerate"].run(pipeline=pipeline, reward=both, settings='{"scouts": 0}', **asked(width=64, height=64)).args
    expected = own(lambda: dymo.DyMO({"mini-pickscore": 0.5, "mini-aesthetic": 2.0}, "fast", scouts=0), width=64, height=64)
    assert torch.equal(images, expected)
    lora = nodes["DymoLora"].run(name="style.safetensors", strength=0.8)[0]
    again = nodes["DymoLora"].run(name="style.safetensors", strength=0.1, others=lora)[0]
    assert again == (("/nowhere/style.safetensors", 0.8), ("/nowhere/style.safetensors", 0.1))


def test_a_checkpoint_in_one_file_is_its_pipeline(nodes, host, tmp_path):
    with torch.inference_mode(False):
        whole = tiny.sd()
        host.files["checkpoints"]["mine.safetensors"] = str(layouts.write(layouts.sd15(whole), tmp_path / "mine.safetensors"))
        config = layouts.configuration(whole, tmp_path / "config")
    pipe = nodes["DymoLoadCheckpoint"].run(model="mine.safetensors", config=str(config))[0].pipe
    assert type(pipe) is type(whole) and not any(p.is_inference() for p in pipe.unet.parameters())
    assert all(torch.equal(value, whole.unet.state_dict()[name]) for name, value in pipe.unet.state_dict().items())


def test_a_transformer_in_gguf_takes_the_place_of_the_model_s(nodes, host, tmp_path):
    from dymo.pipelines.weights import quantised

    with torch.inference_mode(False):
        flux = flows.flux()
        flux.save_pretrained(tmp_path / "flux")
        host.files["unet_gguf"] = {"flux/net-Q8_0.gguf": str(layouts.gguf(flux.transformer, tmp_path / "net.gguf")), "notes.txt": "/nowhere"}
    (widget,) = (one for one in nodes["DymoLoadPipeline"].GET_SCHEMA().inputs if one.id == "transformer")
    assert widget.options == ["the model's own", "flux/net-Q8_0.gguf"]
    loaded = [nodes["DymoLoadPipeline"].run(model=str(tmp_path / "flux"), **more)[0].pipe for more in ({}, {"transformer": "flux/net-Q8_0.gguf"})]
    assert [len(quantised(pipe.transformer)) for pipe in loaded] == [0, 1]


def test_a_lora_acts_with_its_strength(nodes, host):
    pytest.importorskip("peft")
    host.files["loras"]["spo.safetensors"] = str(WEIGHTS / "lora" / "spo.safetensors")
    one, none = (nodes["DymoLora"].run(name="spo.safetensors", strength=strength)[0] for strength in (1.0, 0.0))
    acts, rests = (
        nodes["DymoGenerate"].run(pipeline=nodes["DymoLoadPipeline"].run(lora=lora)[0], preset="unguided", **asked())[0]
        for lora in (one, none)
    )
    torch.testing.assert_close(rests, own(), atol=1e-4, rtol=0)
    assert (acts - rests).abs().max() > 0.01


def test_stop_ends_the_run_and_the_pipeline_goes_on_as_before(nodes, host):
    pipeline = nodes["DymoLoadPipeline"].run()[0]
    reward = nodes["DymoReward"].run(name="mini-pickscore")[0]
    host.interrupt_at = 2
    with pytest.raises(Interrupted):
        nodes["DymoGenerate"].run(pipeline=pipeline, reward=reward, **asked())
    assert len(host.shown) == 1
    images, _ = nodes["DymoGenerate"].run(pipeline=pipeline, preset="unguided", **asked()).args
    assert torch.equal(images, own())


@pytest.mark.parametrize(
    ("node", "inputs", "error", "said"),
    [
        ("DymoLoadPipeline", {"model": " "}, ConfigError, r"^model is empty: give a folder"),
        ("DymoLoadPipeline", {"offload": "model"}, ConfigError, r"^offload model: needs an accelerator"),
        ("DymoLoadPipeline", {"model": "/nowhere/at/all"}, PipelineError, r"^model /nowhere/at/all: "),
        ("DymoLoadPipeline", {"model": str(WEIGHTS)}, ConfigError, r"^model .*weights: "),
        ("DymoLoadPipeline", {"lora": (("/nowhere/style.safetensors", 1.0),)}, ConfigError, r"^lora /nowhere/style.safetensors: there is no"),
        ("DymoLoadCheckpoint", {"model": "sub/one.safetensors"}, PipelineError, r"^model /nowhere/one.safetensors: cannot"),
        ("DymoReward", {"name": "mini-pickscore", "weight": 0.0}, RewardError, r"its weight is 0.0"),
        ("DymoGraph", {"prompt": "", "corrected": "{"}, PromptError, r"JSON"),
    ],
)  # fmt: skip
def test_errors_are_in_the_words_of_the_nodes(nodes, node, inputs, error, said):
    with pytest.raises(error, match=said) as found:
        nodes[node].run(**inputs)
    assert "--" not in str(found.value)


def test_a_path_keeps_its_dashes():
    from dymo.comfy.work import ours

    @ours
    def fail():
        raise ConfigError(Option("preview_vae", "hub/models--madebyollin--taesd/x"), ": not there; see ", Option("dtype"))

    with pytest.raises(ConfigError, match=r"^preview_vae hub/models--madebyollin--taesd/x: not there; see dtype$"):
        fail()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"evaluations": 2}, "^evaluations 2 is less than the 3 steps of the trajectory, which is never cut short: raise the budget or lower steps$"),
        ({"width": 12}, "^width 12: must be a multiple of 8; the nearest is 16$"),
        ({"settings": '{"eta": [-1, 0, 0]}'}, r'^settings {"eta": \[-1, 0, 0\]}: give'),
        ({"settings": '{"on_hacking": "stop"}'}, r'^settings {"on_hacking": "stop"} needs .* give settings {"watch": \["hpsv2.1"\]} or another$'),
        ({"settings": '{"parser": 3}'}, '^settings {"parser": 3}: give a function, or one of spacy'),
        ({"settings": '{"compile": 3}'}, '^settings {"compile": 3}: give True, False'),
        ({"settings": '{"num_inference_steps": 3}'}, "^settings: 'num_inference_steps' has an input of its own; give it there$"),
        ({"settings": '{"generator": 3}'}, "^settings: there is no 'generator'; choose from borders, "),
        ({"settings": '{"clamp": "no"}'}, '^settings {"clamp": "no"}: give True or False'),
    ],
)
def test_keywords_of_the_library_are_in_the_words_of_the_nodes_too(nodes, asked, said):
    pipeline = nodes["DymoLoadPipeline"].run()[0]
    with pytest.raises(ConfigError, match=said):
        nodes["DymoGenerate"].run(pipeline=pipeline, prompt="a red apple", steps=3, **asked)


@pytest.mark.parametrize("settings", ["{", "[1]", '"eta"', '{"etta": 1}', '{"preset": "fast"}'])
def test_settings_that_are_none_are_refused(nodes, settings):
    pipeline = nodes["DymoLoadPipeline"].run()[0]
    with pytest.raises(ConfigError, match="settings|etta"):
        nodes["DymoGenerate"].run(pipeline=pipeline, settings=settings, **asked())


def test_the_example_runs_as_it_stands(nodes):
    """Every required input is given, as ComfyUI demands, and nothing else."""
    workflow = json.loads((ROOT / "examples" / "comfyui.json").read_text())
    done = {}
    for number, step in workflow.items():
        if step["class_type"] == "PreviewImage":
            continue
        node, inputs = nodes[step["class_type"]], step["inputs"]
        required = {one.id for one in node.GET_SCHEMA().inputs if not one.optional}
        assert required <= set(inputs)
        given = {name: done[value[0]][value[1]] if isinstance(value, list) else value for name, value in inputs.items()}
        done[number] = node.run(**given | ({"steps": STEPS} if "steps" in given else {}))
    aligned, unguided = (done[workflow[n]["inputs"]["images"][0]][0] for n in ("6", "7"))
    assert aligned.shape == unguided.shape and not torch.equal(aligned, unguided)


def test_the_folder_in_custom_nodes_is_one_line(host, tmp_path):
    """As ComfyUI imports it: by its path, under a name made of it."""
    (tmp_path / "__init__.py").write_text("from dymo.comfy import comfy_entrypoint\n")
    spec = importlib.util.spec_from_file_location(str(tmp_path).replace(".", "_x_"), tmp_path / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert inspect.iscoroutinefunction(module.comfy_entrypoint) and not hasattr(module, "NODE_CLASS_MAPPINGS")
