"""A transformer in the place of a model's own, from the command line: one file, GGUF, a folder; and what is none."""

from __future__ import annotations

import json
import warnings

import flows
import layouts
import pytest
import tiny
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

from dymo.cli import app
from dymo.commands import models, studio
from dymo.commands.schema import Studio
from dymo.commands.sources import check_model
from dymo.commands.transformer import check_transformer
from dymo.errors import ConfigError, ModelWarning, PipelineError
from dymo.pipelines.weights import quantised
from dymo.report.png import read_png


def refusal(check, *given, **more):
    with pytest.raises(ConfigError) as raised:
        check(*given, **more)
    return str(raised.value)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """FLUX without its transformer's weights, as of a download that leaves out what is not needed."""
    folder = tmp_path_factory.mktemp("models") / "flux"
    flows.flux().save_pretrained(folder)
    for file in (folder / "transformer").glob("*.safetensors"):
        file.unlink()
    return folder


def other(seed=3):
    """A transformer of the same form as FLUX's, with other weights."""
    torch.manual_seed(seed)
    return flows.alive(flows.flux().transformer)


def load(base, source):
    return models.load_pipeline(str(base), transformer=str(source)).transformer


def in_file(net, path):
    return layouts.write(net.state_dict(), path)


def test_a_folder_may_lack_the_weights_that_are_given_beside_it(base, tmp_path):
    assert "no weights in transformer" in refusal(check_model, str(base))
    check_model(str(base), transformer="given.safetensors")
    net = other()
    net.save_pretrained(tmp_path / "whole" / "transformer")
    for place in (tmp_path / "whole", tmp_path / "whole" / "transformer", in_file(net, tmp_path / "net.safetensors")):
        check_transformer(str(place), str(base))
        found = load(base, place).state_dict()
        assert all(torch.equal(found[name], value) for name, value in net.state_dict().items())


def test_a_file_with_the_names_of_its_authors(tmp_path):
    pipe = flows.z_image()
    pipe.save_pretrained(tmp_path / "base")
    torch.manual_seed(3)
    net = flows.alive(pipe.transformer)
    weights = layouts.z_image(net)
    found = load(tmp_path / "base", layouts.write(weights, tmp_path / "net.safetensors")).state_dict()
    assert all(torch.equal(found[name], value) for name, value in net.state_dict().items())
    more = {**weights, "model.diffusion_model.another.weight": torch.zeros(1)}
    with pytest.warns(ModelWarning, match="these weights have no place in ZImageTransformer2DModel: another.weight$"):
        load(tmp_path / "base", layouts.write(more, tmp_path / "more.safetensors"))
    weights.pop("model.diffusion_model.layers.1.attention.out.weight")
    with pytest.raises(PipelineError, match="lacks weights of this model's ZImageTransformer2DModel; name one of the same model"):
        load(tmp_path / "base", layouts.write(weights, tmp_path / "lacking.safetensors"))


def test_a_gguf_file_generates_with_its_weights_of_8_bits(base, tmp_path):
    net = other()
    file = layouts.gguf(net, tmp_path / "net.gguf")
    check_transformer(str(file), str(base))
    assert len(quantised(load(base, file))) == 1
    graph = tmp_path / "graph.json"
    graph.write_text(json.dumps({"prompt": tiny.PROMPT, "entities": [{"text": "apple"}, {"text": "car"}]}))
    words = ["generate", tiny.PROMPT, "-m", base, "--transformer", file, "--steps", "2", "--height", "32", "--width", "32", "--device", "cpu",
             "--set", "preference_weight=0", "--set", "few_steps=never", "--graph", graph, "--compare", "--outdir", tmp_path / "out"]  # fmt: skip
    result = CliRunner().invoke(app, [str(word) for word in words], env={"NO_COLOR": "1"})
    assert result.exit_code == 0, result.output
    (aligned,) = (path for path in (tmp_path / "out").glob("*.png") if path.stem.endswith("0000"))
    assert read_png(aligned)[1]["transformer"] == str(file)
    pipe, generator = models.load_pipeline(str(base), transformer=str(file)), torch.Generator().manual_seed(0)
    (theirs,) = pipe(tiny.PROMPT, num_inference_steps=2, height=32, width=32, generator=generator).images
    with Image.open(aligned.with_stem(aligned.stem + "-unguided")) as ours:
        assert ours.tobytes() == theirs.tobytes()


def test_weights_of_another_model_are_not_taken_for_this_one_s(base, tmp_path):
    weights = other().state_dict()
    wide = {name: torch.zeros(*value.shape[:-1], value.shape[-1] + 1) for name, value in weights.items()}
    save_file(wide, tmp_path / "wide.safetensors")
    with pytest.raises(PipelineError, match="cannot be loaded as FluxTransformer2DModel .* is it of this model's family"):
        load(base, tmp_path / "wide.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(base, in_file(other(), tmp_path / "same.safetensors"))


def test_what_is_no_transformer_is_refused_before_anything_is_loaded(tmp_path, monkeypatch):
    def of(names):
        save_file({name: torch.zeros(2, 2) for name in names}, tmp_path / "file.safetensors")
        return refusal(check_transformer, str(tmp_path / "file.safetensors"), "a model")

    assert "name one by --model" in refusal(check_transformer, "owner/name", None)
    assert "a LoRA; give it with --lora" in of(["transformer.x.lora_A.weight"])
    assert "a UNet, and no transformer; give its folder with --unet" in of(["down_blocks.0.attentions.0.x"])
    assert "a checkpoint with a UNet" in of(["model.diffusion_model.input_blocks.0.0.weight"])
    for name in ("double_blocks.0.img_attn.qkv.scale_weight", "scaled_fp8", "transformer_blocks.0.attn.to_q.wscales"):
        assert f"scales of their own ({name}), which diffusers leaves out" in of([name, "double_blocks.0.x"])
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    assert "give it with --transformer, beside a --model" in refusal(check_model, str(tmp_path / "a.gguf"))
    monkeypatch.setattr("dymo.commands.transformer.find_spec", lambda name: None)
    assert "pip install 'dymo-diffusion[quantized]'" in refusal(check_transformer, str(tmp_path / "a.gguf"), "a model")


def test_a_model_with_a_unet_has_no_place_for_it(tmp_path):
    tiny.sd().save_pretrained(tmp_path / "sd")
    refused = refusal(models.load_pipeline, str(tmp_path / "sd"), transformer="owner/name")
    assert "--transformer owner/name: the model has no transformer of diffusers; give another UNet with --unet" in refused


def test_a_file_of_the_hub_is_found_offline_where_it_was_downloaded(base, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--owner--quants"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc").mkdir(parents=True)
    layouts.gguf(other(), folder / "snapshots" / "abc" / "net-Q8_0.gguf")
    check_transformer("owner/quants/net-Q8_0.gguf", str(base))
    assert len(quantised(load(base, "owner/quants/net-Q8_0.gguf"))) == 1
    assert "neither a folder here nor downloaded before" in refusal(check_transformer, "owner/quants/net-Q4_0.gguf", str(base))


def test_the_studio_s_one_model_gets_it(base, tmp_path):
    file = layouts.gguf(other(), tmp_path / "net.gguf")
    settings = Studio(models=[str(base)], transformer=str(file))
    loaded = studio.loader(settings, studio.check(settings), "cpu")(str(base))
    assert len(quantised(loaded.pipe.transformer)) == 1 and loaded.record["transformer"] == str(file)
    assert studio.offers([str(base)])[str(base)].defaults == {"num_inference_steps": 28}  # FluxPipeline's own
    for models_ in ([], [str(base), str(base)]):
        assert f"--transformer goes into one model: give one --model, and not {len(models_)}" in refusal(
            studio.check, Studio(models=models_, transformer=str(file))
        )


def test_on_cuda_a_transformer_s_precision_is_bfloat16():
    of = models._usual_precision
    assert (of({"transformer": []}, "cuda:1"), of({"unet": []}, "cuda"), of({"transformer": []}, "cpu")) == ("bfloat16", "float16", "float32")


def test_auto_is_the_precision_of_the_transformer_s_file(base, tmp_path):
    file = in_file(other().to(torch.bfloat16), tmp_path / "half.safetensors")
    assert models.load_pipeline(str(base), dtype="auto", transformer=str(file)).transformer.dtype == torch.bfloat16
    gguf = layouts.gguf(other(), tmp_path / "net.gguf")
    assert f"--transformer {gguf} has no .safetensors to read it from" in refusal(
        models.load_pipeline, str(base), dtype="auto", transformer=str(gguf)
    )
