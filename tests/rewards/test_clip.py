"""Rewards that are a CLIP model: PickScore, HPSv2, CLIPScore, a folder of one."""

import json
import warnings

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from tiny_rewards import clip, clip_config, clip_folder, gradient_is_right, lively, to_open_clip
from transformers import CLIPModel

from dymo import RewardError, load_reward
from dymo.rewards.clip import CLIPReward, clip_from_state, open_clip_text, vit_h_config
from dymo.rewards.joined import joined
from dymo.rewards.preprocess import longest_side_pad, normalise, shortest_side_crop

PROMPTS = ["a red car", "an apple", "a red car"]


@pytest.fixture
def folder(tmp_path):
    return clip_folder(tmp_path, clip())


def logits(pixels):
    """transformers' own of prepared pixels (3, 3, 16, 16) and PROMPTS."""
    tokens = tiny.tokenizer()(PROMPTS, padding="max_length", max_length=48, return_tensors="pt")
    with torch.no_grad():
        return clip()(
            input_ids=tokens.input_ids, attention_mask=tokens.attention_mask, pixel_values=pixels
        ).logits_per_image.diagonal()


def test_the_score_is_transformers_own_logit(folder):
    reward = load_reward("pickscore", source=folder)
    images = torch.rand(3, 3, 16, 16)
    expected = logits(normalise(images, reward.mean, reward.std))
    torch.testing.assert_close(reward.score(images, PROMPTS), expected, atol=1e-5, rtol=1e-5)
    assert reward.cosine_scale == pytest.approx(clip().logit_scale.exp().item())


def test_hps_and_clipscore_are_the_cosine_on_their_own_preprocessing(folder):
    images, points = torch.rand(3, 3, 20, 31), clip().logit_scale.exp()
    for name, prepared in (
        ("hpsv2", longest_side_pad(images, 16)),
        ("hpsv2.1", longest_side_pad(images, 16)),
        ("clipscore", shortest_side_crop(images, 16, "round")),
    ):
        reward = load_reward(name, source=folder)
        expected = logits(normalise(prepared, reward.mean, reward.std)) / points
        torch.testing.assert_close(reward.score(images, PROMPTS), expected, atol=1e-6, rtol=1e-5)
        assert (reward.name, reward.cosine_scale) == (name, 1.0)


def test_a_prompt_is_encoded_once(folder):
    reward, calls = load_reward(folder), []
    reward.model.text_model.register_forward_hook(lambda *a: calls.append(1))
    for _ in range(3):
        reward.score(torch.rand(2, 3, 16, 16), ["a car", "an apple"])
    assert len(calls) == 1


@pytest.mark.parametrize("prepare", [shortest_side_crop, longest_side_pad])
@pytest.mark.parametrize("size", [(11, 11), (9, 13)])
def test_gradcheck_through_preprocessing_and_tower(size, prepare):
    model = lively(clip(image_size=8, patch_size=4)).double()
    reward = CLIPReward(model, tiny.tokenizer(), "small", prepare=prepare)
    assert gradient_is_right(lambda images: reward.score(images, ["a red car"]), size)


def test_the_gradient_reaches_every_part_of_the_image(folder):
    images = (0.3 + 0.4 * torch.rand(2, 3, 16, 16)).requires_grad_()
    (gradient,) = torch.autograd.grad(load_reward(folder).score(images, ["a", "b"]).sum(), images)
    assert gradient.isfinite().all() and (gradient.flatten(1).abs().sum(1) > 0).all()


def test_checkpointing_changes_the_memory_and_not_the_gradient(folder):
    images = (0.3 + 0.4 * torch.rand(2, 3, 16, 16)).requires_grad_()
    found, kept = [], []
    for checkpointing in (False, True):
        reward = load_reward("pickscore", source=folder, checkpointing=checkpointing)
        reward.score(images.detach(), ["a", "b"])  # the texts are encoded before the count
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=saved: (s.append(t.numel()), t)[1], lambda t: t):
            score = reward.score(images, ["a", "b"])
        kept.append(sum(saved))
        found.append(torch.autograd.grad(score.sum(), images)[0])
    assert kept[1] < kept[0] / 2
    torch.testing.assert_close(found[1], found[0])


def test_the_precision_asked_for(folder):
    for dtype in (torch.float64, torch.bfloat16):
        reward = load_reward("pickscore", source=folder, dtype=dtype)
        assert reward.model.dtype == dtype
        assert reward.score(torch.rand(1, 3, 16, 16), ["a"]).dtype in (torch.float32, torch.float64)


def full_size():
    """Every name of PickScore's model.safetensors with its shape, without content."""
    found = {
        "logit_scale": (), "text_projection.weight": (1024, 1024), "visual_projection.weight": (1024, 1280),
        "text_model.embeddings.token_embedding.weight": (49408, 1024), "text_model.embeddings.position_embedding.weight": (77, 1024),
        "text_model.final_layer_norm.weight": (1024,), "text_model.final_layer_norm.bias": (1024,),
        "text_model.embeddings.position_ids": (1, 77), "vision_model.embeddings.position_ids": (1, 257),
        "vision_model.embeddings.class_embedding": (1280,), "vision_model.embeddings.position_embedding.weight": (257, 1280),
        "vision_model.embeddings.patch_embedding.weight": (1280, 3, 14, 14),
    }  # fmt: skip
    for norm in ("pre_layrnorm", "post_layernorm"):
        found |= {f"vision_model.{norm}.{kind}": (1280,) for kind in ("weight", "bias")}
    for tower, layers, width in (("text_model", 24, 1024), ("vision_model", 32, 1280)):
        for i in range(layers):
            name = f"{tower}.encoder.layers.{i}"
            for norm in ("layer_norm1", "layer_norm2"):
                found |= {f"{name}.{norm}.{kind}": (width,) for kind in ("weight", "bias")}
            linear = {f"self_attn.{p}_proj": (width, width) for p in ("q", "k", "v", "out")}
            linear |= {"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
            for part, shape in linear.items():
                found |= {f"{name}.{part}.weight": shape, f"{name}.{part}.bias": shape[:1]}
    return {name: torch.empty(shape, device="meta") for name, shape in found.items()}


def test_pickscore_s_full_layout_loads_and_no_other():
    state = full_size()
    assert sum(p.numel() for p in clip_from_state(state, "pickscore").parameters()) == pytest.approx(
        986.109e6, rel=1e-6
    )
    key = "vision_model.encoder.layers.31.self_attn.k_proj.bias"
    with pytest.raises(RewardError, match=f"1 missing: {key}"):
        clip_from_state({k: v for k, v in state.items() if k != key}, "pickscore")
    with pytest.raises(RewardError, match="1 unexpected: head.weight"):
        clip_from_state({**state, "head.weight": torch.ones(1)}, "pickscore")
    with pytest.raises(RewardError, match=r"bias \(3,\), expected \(1280,\)"):
        clip_from_state({**state, key: torch.empty(3, device="meta")}, "pickscore")
    with pytest.raises(RewardError, match="the file has the prefix 'model.'"):
        clip_from_state({f"model.{name}": value for name, value in state.items()}, "pickscore")


def test_the_published_sizes():
    config = vit_h_config()
    assert config.vision_config.num_attention_heads == config.text_config.num_attention_heads == 16
    # Pooled where the ids are largest, as the published files were trained.
    assert config.text_config.eos_token_id == 2 and config.text_config.hidden_act == "gelu"


def test_a_folder_s_weights_that_do_not_fit_are_named(folder):
    weights = load_file(folder / "model.safetensors")
    lost = weights.pop("visual_projection.weight")
    save_file({**weights, "visual_projektion.weight": lost}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        RewardError, match="1 missing: visual_projection.weight; 1 unexpected: visual_projektion.weight"
    ):
        load_reward("pickscore", source=folder)
    save_file(
        {**weights, "visual_projection.weight": torch.ones(3, 16)},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(RewardError, match=r"visual_projection.weight \(3, 16\), expected \(12, 16\)"):
        load_reward("pickscore", source=folder)


def test_hps_is_loaded_from_a_file_of_open_clip_s_names(tmp_path, monkeypatch):
    """The published sizes are those of ViT-H: here the same way with a small one."""
    from dymo.rewards import clip as module

    monkeypatch.setattr(module, "vit_h_config", clip_config)
    model = lively(clip())
    torch.save({"epoch": 1, "state_dict": to_open_clip(model)}, tmp_path / "HPS_v2.1_compressed.pt")
    tiny.tokenizer().save_pretrained(tmp_path)
    reward = load_reward("hpsv2.1", source=tmp_path)
    expected = CLIPReward(model, tiny.tokenizer(), "same", prepare=longest_side_pad, points=1.0)
    images = torch.rand(3, 3, 20, 31)
    torch.testing.assert_close(reward.score(images, PROMPTS), expected.score(images, PROMPTS))
    single = load_reward("hpsv2.1", source=tmp_path / "HPS_v2.1_compressed.pt", dtype=torch.float64)
    assert single.model.dtype == torch.float64
    with pytest.raises(RewardError, match=r"no HPS_v2_compressed.pt .*HPS_v2.1_compressed.pt"):
        load_reward("hpsv2", source=tmp_path)  # the other version's file is not taken for it


def test_pickscore_is_loaded_from_a_single_file(tmp_path, monkeypatch):
    from dymo.rewards import clip as module

    monkeypatch.setattr(module, "vit_h_config", clip_config)
    clip_folder(tmp_path, clip())
    (tmp_path / "config.json").unlink()
    reward = load_reward("pickscore", source=tmp_path / "model.safetensors")
    images = torch.rand(3, 3, 16, 16)
    expected = logits(normalise(images, reward.mean, reward.std))
    torch.testing.assert_close(reward.score(images, PROMPTS), expected, atol=1e-5, rtol=1e-5)


def test_the_folder_s_own_normalisation_is_taken(folder):
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}))
    assert load_reward(folder).mean == (0.5, 0.5, 0.5)


def test_a_count_that_does_not_fit(folder):
    with pytest.raises(RewardError, match="2 images with 1 prompts; give a list with one prompt each"):
        load_reward(folder).score(torch.rand(2, 3, 16, 16), ["a"])


def test_a_missing_tokenizer_and_a_missing_folder(tmp_path):
    CLIPModel.save_pretrained(clip(), tmp_path)
    with pytest.raises(RewardError, match="no tokenizer in .*put its files .* beside the weights"):
        load_reward("clipscore", source=tmp_path)
    with pytest.raises(RewardError, match=r"pickscore: cannot load a CLIPModel from 'nobody/nothing'.*source="):
        load_reward("pickscore", source="nobody/nothing")


def test_r2_settings_that_make_no_sense_are_named(folder):
    for file, content, said in (
        ("preprocessor_config.json", "[]", r"preprocessor_config.json holds \[\], not an object of settings"),
        ("preprocessor_config.json", '{"image_mean": [1]}', r"image_mean \[1\]; it must be three numbers"),
        ("preprocessor_config.json", "{", "cannot read .*preprocessor_config.json"),
        ("tokenizer.json", "[]", "no tokenizer in"),
        ("config.json", "[]", r"config.json holds \[\]"),
        (
            "config.json",
            json.dumps({**clip_config(patch_size=0).to_dict(), "model_type": "clip"}),
            "cannot load a CLIPModel",
        ),
    ):
        before = (folder / file).read_text() if (folder / file).is_file() else "{}"
        (folder / file).write_text(content)
        with pytest.raises(RewardError, match=f"pickscore: .*{said}"):
            load_reward("pickscore", source=folder)
        (folder / file).write_text(before)
    assert load_reward("pickscore", source=folder).name == "pickscore"


@pytest.mark.parametrize("source", ["", " ", "/nowhere/x", "./x", "w.safetensors", "a/b/c", "no-owner"])
def test_r2_a_source_that_is_none_is_not_looked_for_on_the_hub(source):
    with pytest.raises(
        RewardError, match="is empty; give a hub id" if not source.strip() else "no such file or folder, and a hub id"
    ):
        load_reward("pickscore", source=source)


def test_r2_the_file_of_the_other_version_is_told_by_its_name(tmp_path, monkeypatch):
    """Nothing in the two files but the values differs: the name alone can tell."""
    from dymo.rewards import clip as module

    monkeypatch.setattr(module, "vit_h_config", clip_config)
    tiny.tokenizer().save_pretrained(tmp_path)
    for name in ("HPS_v2.1_compressed.pt", "renamed.pt"):
        torch.save({"state_dict": to_open_clip(clip())}, tmp_path / name)
    with pytest.warns(
        UserWarning, match=r"hpsv2: HPS_v2.1_compressed.pt is what hpsv2.1's file is called.*load it as 'hpsv2.1'"
    ):
        load_reward("hpsv2", source=tmp_path / "HPS_v2.1_compressed.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_reward("hpsv2.1", source=tmp_path / "HPS_v2.1_compressed.pt")
        load_reward("hpsv2", source=tmp_path / "renamed.pt")


def test_r3_hps_cleans_the_text_as_open_clip_does(folder):
    """ftfy, HTML entities twice, one space: open_clip's `basic_clean` and `whitespace_clean`."""
    for given, clean in (
        ("  a &amp;amp; b\n c ", "a & b c"),
        ("l\u00c3\u00a9on", "l\u00e9on"),
        ("\u201ca\u201d \ufb01sh", '"a" fish'),
        ("a red car", "a red car"),
    ):
        assert open_clip_text(given) == clean
    images = torch.rand(1, 3, 16, 16)
    for name, alike in (("hpsv2", True), ("hpsv2.1", True), ("pickscore", False), ("clipscore", False)):
        reward = load_reward(name, source=folder)
        made = [reward.score(images, [prompt]) for prompt in ("caf\u00c3\u00a9 &amp; bar", "caf\u00e9 & bar")]
        assert torch.equal(*made) == alike, name


@pytest.mark.parametrize("bias", [False, True])
def test_patches_by_a_product_are_the_convolutions(bias):
    conv = torch.nn.Conv2d(3, 8, 4, 4, bias=bias).requires_grad_(False)
    model = torch.nn.ModuleDict({"patch_embedding": conv})
    x, seed = torch.randn(2, 3, 14, 9, requires_grad=True), torch.randn(2, 8, 3, 2)
    expected = conv(x)
    (gradient,) = torch.autograd.grad(expected, x, seed)
    with joined(model):
        assert "forward" in vars(conv)
        found = conv(x)
    assert "forward" not in vars(conv)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, x, seed)[0], gradient)


@pytest.mark.parametrize("changes", [{"stride": 2}, {"padding": 1}, {"groups": 2, "in_channels": 4}])
def test_another_convolution_stays(changes):
    conv = torch.nn.Conv2d(**{"in_channels": 3, "out_channels": 8, "kernel_size": 4, "stride": 4} | changes).requires_grad_(False)
    with joined(torch.nn.ModuleDict({"patch_embedding": conv})):
        assert "forward" not in vars(conv)
