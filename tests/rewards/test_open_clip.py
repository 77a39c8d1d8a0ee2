"""open_clip's layout: names, shapes, and a forward written with torch's own attention on the file's own tensors."""

import pytest
import torch
import torch.nn.functional as F
from tiny_rewards import clip, clip_config, lively, to_open_clip
from torch import nn
from transformers import CLIPModel

from dymo import RewardError
from dymo.rewards.checkpoint import hollow, shapes
from dymo.rewards.clip import clip_from_open_clip, vit_h_config
from dymo.rewards.open_clip import from_open_clip, open_clip_shapes


class Block(nn.Module):
    """open_clip's ResidualAttentionBlock."""

    def __init__(self, width, heads, inner):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, inner), "c_proj": nn.Linear(inner, width)})

    def forward(self, x, mask=None):
        h = self.ln_1(x)
        x = x + self.attn(h, h, h, attn_mask=mask, need_weights=False)[0]
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x))))


class Tower(nn.Module):
    def __init__(self, width, layers):
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, 2, 24) for _ in range(layers))

    def forward(self, x, mask=None):
        for block in self.resblocks:
            x = block(x, mask)
        return x


class Visual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 8, stride=8, bias=False)
        self.class_embedding, self.positional_embedding = (nn.Parameter(torch.randn(n)) for n in ((16,), (5, 16)))
        self.ln_pre, self.ln_post = nn.LayerNorm(16), nn.LayerNorm(16)
        self.transformer, self.proj = Tower(16, 2), nn.Parameter(torch.randn(16, 12))

    def forward(self, pixels):
        cells = self.conv1(pixels).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(pixels), 1, -1)
        x = self.transformer(self.ln_pre(torch.cat([first, cells], 1) + self.positional_embedding))
        return self.ln_post(x[:, 0]) @ self.proj


class OpenCLIP(nn.Module):
    """As open_clip's CLIP, small."""

    def __init__(self, vocabulary):
        super().__init__()
        self.visual, self.transformer = Visual(), Tower(16, 2)
        self.token_embedding, self.ln_final = nn.Embedding(vocabulary, 16), nn.LayerNorm(16)
        self.positional_embedding, self.text_projection = (nn.Parameter(torch.randn(n)) for n in ((48, 16), (16, 12)))
        self.logit_scale = nn.Parameter(torch.tensor(2.0))

    def words(self, ids):
        mask = torch.full((48, 48), float("-inf")).triu(1)
        x = self.transformer(self.token_embedding(ids) + self.positional_embedding, mask)
        return self.ln_final(x)[torch.arange(len(ids)), ids.argmax(-1)] @ self.text_projection


def test_the_converted_model_computes_what_the_original_does():
    config = clip_config()
    torch.manual_seed(1)
    original = lively(OpenCLIP(config.text_config.vocab_size))
    converted = clip_from_open_clip(original.state_dict(), "small", config=config)
    pixels, ids = torch.randn(3, 3, 16, 16), torch.randint(0, 300, (3, 48))
    ids[:, 7] = config.text_config.eos_token_id  # the largest
    with torch.no_grad():
        torch.testing.assert_close(
            converted.get_image_features(pixels).pooler_output, original.visual(pixels), atol=1e-5, rtol=1e-5
        )
        torch.testing.assert_close(
            converted.get_text_features(ids).pooler_output, original.words(ids), atol=1e-5, rtol=1e-5
        )


def test_there_and_back():
    model = lively(clip())
    state, again = model.state_dict(), from_open_clip(to_open_clip(model), model)
    assert shapes(to_open_clip(model)) == open_clip_shapes(model)
    assert set(again) == set(state) and all(torch.equal(again[name], state[name]) for name in state)


def full_size():
    """Every name of HPS_v2_compressed.pt with its shape, without content."""
    found = {
        "logit_scale": (), "positional_embedding": (77, 1024), "text_projection": (1024, 1024),
        "token_embedding.weight": (49408, 1024), "ln_final.weight": (1024,), "ln_final.bias": (1024,),
        "visual.class_embedding": (1280,), "visual.positional_embedding": (257, 1280), "visual.proj": (1280, 1024),
        "visual.conv1.weight": (1280, 3, 14, 14),
    }  # fmt: skip
    for norm in ("ln_pre", "ln_post"):
        found |= {f"visual.{norm}.{kind}": (1280,) for kind in ("weight", "bias")}
    for tower, layers, width in (("transformer", 24, 1024), ("visual.transformer", 32, 1280)):
        for i in range(layers):
            block = f"{tower}.resblocks.{i}"
            for norm in ("ln_1", "ln_2"):
                found |= {f"{block}.{norm}.{kind}": (width,) for kind in ("weight", "bias")}
            for part, out, into in (
                ("attn.in_proj_", 3 * width, width), ("attn.out_proj.", width, width),
                ("mlp.c_fc.", 4 * width, width), ("mlp.c_proj.", width, 4 * width),
            ):  # fmt: skip
                found |= {f"{block}.{part}weight": (out, into), f"{block}.{part}bias": (out,)}
    return {name: torch.empty(shape, device="meta") for name, shape in found.items()}


def test_the_full_layout_loads_and_no_other():
    state = full_size()
    model = clip_from_open_clip(state, "hpsv2")
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(986.109e6, rel=1e-6)
    assert shapes(state) == open_clip_shapes(hollow(lambda: CLIPModel(vit_h_config())))
    lost = {k: v for k, v in state.items() if k != "visual.proj"}
    with pytest.raises(RewardError, match="1 missing: visual.proj"):
        clip_from_open_clip(lost, "hpsv2")
    with pytest.raises(RewardError, match="1 unexpected: visual.extra"):
        clip_from_open_clip({**state, "visual.extra": torch.ones(1)}, "hpsv2")
    with pytest.raises(RewardError, match=r"1 of another shape: visual.proj \(1024, 1280\), expected \(1280, 1024\)"):
        clip_from_open_clip({**state, "visual.proj": torch.empty(1024, 1280, device="meta")}, "hpsv2")
    with pytest.raises(RewardError, match="the file has the prefix 'module.'"):
        clip_from_open_clip({f"module.{name}": value for name, value in state.items()}, "hpsv2")
