"""ImageReward against transformers' ViT and BERT with cross-attention on the same weights, and its published layout."""

import dataclasses
import json

import pytest
import torch
from tiny_rewards import SIZES, bert_tokenizer, gradient_is_right, image_reward
from transformers import BertConfig, BertModel, ViTConfig, ViTModel

from dymo import RewardError, load_reward
from dymo.rewards.image_reward import (
    UNUSED,
    ImageReward,
    ImageRewardModel,
    Sizes,
    image_reward_from_state,
    published_name,
)

PROMPTS = ["a red apple", "a green car and a red apple", "car"]


def vit(weights) -> ViTModel:
    """transformers' ViT with the tower's weights, the fused q, k, v taken apart."""
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=16, patch_size=8,
        layer_norm_eps=1e-6, hidden_act="gelu",
    )  # fmt: skip
    model = ViTModel(config, add_pooling_layer=False).eval()
    state = {
        "embeddings.cls_token": weights["vision.embeddings.class_embedding"],
        "embeddings.position_embeddings": weights["vision.embeddings.position_embedding"],
    }
    for kind in ("weight", "bias"):
        own = f"vision.embeddings.patch_embedding.{kind}"
        state[f"embeddings.patch_embeddings.projection.{kind}"] = weights[own]
        state[f"layernorm.{kind}"] = weights[f"vision.post_layernorm.{kind}"]
        for i in range(2):
            ours = f"vision.encoder.layers.{i}"
            pieces = weights[f"{ours}.self_attn.qkv.{kind}"].chunk(3)
            parts = {"q": pieces[0], "k": pieces[1], "v": pieces[2]}
            parts |= {"o": weights[f"{ours}.self_attn.projection.{kind}"]}
            parts |= {"norm1": weights[f"{ours}.layer_norm1.{kind}"], "norm2": weights[f"{ours}.layer_norm2.{kind}"]}
            parts |= {"fc1": weights[f"{ours}.mlp.fc1.{kind}"], "fc2": weights[f"{ours}.mlp.fc2.{kind}"]}
            for part, value in parts.items():
                state[f"layers.{i}.{VIT_PARTS[part]}.{kind}"] = value
    model.load_state_dict(state)
    return model


VIT_PARTS = {
    "q": "attention.q_proj", "k": "attention.k_proj", "v": "attention.v_proj", "o": "attention.o_proj",
    "norm1": "layernorm_before", "norm2": "layernorm_after", "fc1": "mlp.fc1", "fc2": "mlp.fc2",
}  # fmt: skip


def bert(weights) -> BertModel:
    """transformers' BERT with cross-attention and the tower's weights; it adds a token type, which is set to nothing."""
    config = BertConfig(
        vocab_size=SIZES.vocabulary, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=SIZES.positions, is_decoder=True, add_cross_attention=True,
    )  # fmt: skip
    model = BertModel(config, add_pooling_layer=False).eval()
    state = {k.removeprefix("text."): v for k, v in weights.items() if k.startswith("text.")}
    state["embeddings.token_type_embeddings.weight"] = torch.zeros(2, 16)
    model.load_state_dict(state)
    return model


def test_the_score_is_that_of_vit_and_bert():
    model = image_reward()
    weights = model.state_dict()
    pixels = torch.randn(3, 3, 16, 16)
    tokens = bert_tokenizer()(PROMPTS, padding="max_length", max_length=9, return_tensors="pt")
    ids, mask = tokens.input_ids, tokens.attention_mask
    with torch.no_grad():
        cells = vit(weights)(pixels).last_hidden_state
        torch.testing.assert_close(model.vision(pixels).last_hidden_state, cells, atol=1e-5, rtol=1e-5)
        # A decoder would be causal: given in four dimensions, the mask is taken as it is.
        seen = mask[:, None, None].bool().expand(-1, 1, 9, -1)
        hidden = torch.where(seen, 0.0, torch.finfo(torch.float32).min)
        states = bert(weights)(
            ids, attention_mask=hidden, encoder_hidden_states=cells, use_cache=False
        ).last_hidden_state
        head = model.mlp.layers(states[:, 0])[:, 0].double()
        expected = (head - 0.16717362830052426) / 1.0333394966054072
        made = model(pixels, model.embed(ids), mask)
    assert expected.std() > 1e-3
    torch.testing.assert_close(made.double(), expected, atol=1e-5, rtol=1e-5)


def reward(**changes):
    return ImageReward(image_reward(**changes), bert_tokenizer(), "small")


def test_padding_is_not_read_and_a_prompt_is_cut_at_the_window():
    wide, images = reward(), torch.rand(1, 3, 16, 16)
    narrow = reward(window=5)
    torch.testing.assert_close(wide.score(images, ["a red apple"]), narrow.score(images, ["a red apple"]))
    cut = narrow.score(images, ["a red apple and a green car"])
    torch.testing.assert_close(cut, narrow.score(images, ["a red apple"]))
    assert not torch.allclose(wide.score(images, ["a red apple and a green car"]), cut)


def test_a_batch_is_its_images_one_by_one_and_prompts_are_embedded_once():
    small, images, calls = reward(), torch.rand(3, 3, 20, 16), []
    small.model.text.embeddings.register_forward_hook(lambda *_: calls.append(1))
    together = small.score(images, PROMPTS)
    alone = torch.cat([small.score(images[i : i + 1], PROMPTS[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)
    assert len(calls) == 1
    with pytest.raises(RewardError, match="3 images with 1 prompts"):
        small.score(images, PROMPTS[:1])


@pytest.mark.parametrize("size", [(11, 11), (9, 13)])
def test_gradients(size):
    small = reward(image_size=8, patch_size=4)
    small.model.double()
    assert gradient_is_right(lambda images: small.score(images, ["a red car"]), size)


def full_size():
    """Every name of ImageReward.pt with its shape, without content."""
    found = {"cls_token": (1, 1, 1024), "pos_embed": (1, 197, 1024), "patch_embed.proj.weight": (1024, 3, 16, 16)}
    found |= {"patch_embed.proj.bias": (1024,), "norm.weight": (1024,), "norm.bias": (1024,)}
    for i in range(24):
        for part, out, into in (
            ("norm1", 1024, None), ("norm2", 1024, None), ("attn.qkv", 3072, 1024), ("attn.proj", 1024, 1024),
            ("mlp.fc1", 4096, 1024), ("mlp.fc2", 1024, 4096),
        ):  # fmt: skip
            found[f"blocks.{i}.{part}.weight"] = (out,) if into is None else (out, into)
            found[f"blocks.{i}.{part}.bias"] = (out,)
    found = {f"blip.visual_encoder.{name}": shape for name, shape in found.items()}
    text = {"embeddings.word_embeddings.weight": (30524, 768), "embeddings.position_embeddings.weight": (512, 768)}
    text |= {
        "embeddings.LayerNorm.weight": (768,),
        "embeddings.LayerNorm.bias": (768,),
        "embeddings.position_ids": (1, 512),
    }
    for i in range(12):
        for part, out, into in (
            ("attention.self.query", 768, 768), ("attention.self.key", 768, 768), ("attention.self.value", 768, 768),
            ("attention.output.dense", 768, 768), ("attention.output.LayerNorm", 768, None),
            ("crossattention.self.query", 768, 768), ("crossattention.self.key", 768, 1024),
            ("crossattention.self.value", 768, 1024), ("crossattention.output.dense", 768, 768),
            ("crossattention.output.LayerNorm", 768, None), ("intermediate.dense", 3072, 768),
            ("output.dense", 768, 3072), ("output.LayerNorm", 768, None),
        ):  # fmt: skip
            text[f"encoder.layer.{i}.{part}.weight"] = (out,) if into is None else (out, into)
            text[f"encoder.layer.{i}.{part}.bias"] = (out,)
    found |= {f"blip.text_encoder.{name}": shape for name, shape in text.items()}
    found |= {"blip.vision_proj.weight": (256, 1024), "blip.vision_proj.bias": (256,)}
    found |= {"blip.text_proj.weight": (256, 768), "blip.text_proj.bias": (256,)}
    for i, out, into in ((0, 1024, 768), (2, 128, 1024), (4, 64, 128), (6, 16, 64), (7, 1, 16)):
        found |= {f"mlp.layers.{i}.weight": (out, into), f"mlp.layers.{i}.bias": (out,)}
    return {name: torch.empty(shape, device="meta") for name, shape in found.items()}


def test_the_full_layout_loads_and_no_other():
    state = full_size()
    model = image_reward_from_state(state, "imagereward")
    assert len(model.state_dict()) == len(state) - len(UNUSED) * 2 - 1
    key = "blip.text_encoder.encoder.layer.11.crossattention.self.key.weight"
    with pytest.raises(RewardError, match=f"1 missing: {key}"):
        image_reward_from_state({k: v for k, v in state.items() if k != key}, "x")
    with pytest.raises(RewardError, match="1 unexpected: blip.itm_head.weight"):
        image_reward_from_state({**state, "blip.itm_head.weight": torch.ones(2, 2)}, "x")
    with pytest.raises(RewardError, match=r"1 of another shape: .*key.weight \(768, 768\), expected \(768, 1024\)"):
        image_reward_from_state({**state, key: torch.empty(768, 768, device="meta")}, "x")
    with pytest.raises(RewardError, match="the file lacks the prefix 'blip.'"):
        image_reward_from_state({k.removeprefix("blip."): v for k, v in state.items()}, "x")


def test_the_published_names_lead_back_to_the_same_model(tmp_path):
    model = image_reward()
    renamed = {published_name(name): value for name, value in model.state_dict().items()}
    again = image_reward_from_state(renamed, "small", sizes=SIZES)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
    torch.save({"blip.vision_proj.weight": torch.ones(2, 2), **renamed}, tmp_path / "ImageReward.pt")
    with pytest.raises(RewardError, match=r"imagereward: .*of another shape"):  # the small one is not the published one
        load_reward("imagereward", source=tmp_path)


def test_a_saved_folder_is_loaded_by_name(tmp_path):
    small, images = reward(mean=0.5), torch.rand(3, 3, 20, 16)
    small.model.save_pretrained(tmp_path)
    bert_tokenizer().save_pretrained(tmp_path)
    again = load_reward("imagereward", source=tmp_path)
    torch.testing.assert_close(again.score(images, PROMPTS), small.score(images, PROMPTS))
    assert again.model.sizes == dataclasses.replace(SIZES, mean=0.5, hidden=list(SIZES.hidden))
    config = json.loads((tmp_path / "config.json").read_text())
    for content, said in (
        ('{"width": 3}', "is not of this model.*width"),
        ("[]", r"holds \[\], not an object"),
        ("{", "cannot read"),
        (json.dumps({**config, "patch_size": 0}), "is not of this model: .*zero"),  # R2
    ):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(RewardError, match=f"imagereward: .*config.json.*{said}|imagereward: {said}.*config.json"):
            ImageRewardModel.from_pretrained(tmp_path)


def test_the_published_sizes_are_the_defaults():
    assert dataclasses.asdict(Sizes())["window"] == 35
    assert Sizes().vocabulary == 30524
