"""Taps against the probabilities that diffusers' own reference processor computes."""

import pytest
import tiny
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor

from dymo import DyMO
from dymo.errors import PipelineError
from dymo.pipelines import taps as taps_module
from dymo.pipelines.families.unet import UNet, cross_attentions
from dymo.pipelines.taps import AttentionTaps, softmax


class Recording(AttnProcessor):
    """The reference processor, with the attention matrix kept."""

    def __call__(self, attn, *args, **kwargs):
        original = attn.get_attention_scores

        def record(*a, **k):
            self.seen = original(*a, **k)
            return self.seen

        attn.get_attention_scores = record
        try:
            return super().__call__(attn, *args, **kwargs)
        finally:
            del attn.get_attention_scores


def read(taps, name):
    module = taps.modules[name]
    q, k = (kept[name].unflatten(-1, (module.heads, -1)).transpose(1, 2) for kept in (taps.queries, taps.keys))
    return softmax(q, k, module.scale)


def inputs():
    torch.manual_seed(3)
    return torch.randn(2, 4, 32, 32), 500, torch.randn(2, 48, 32)


def test_taps_equal_the_reference_attention():
    unet = tiny.unet()
    modules = cross_attentions(unet)
    with torch.no_grad(), AttentionTaps(modules) as taps:
        unet(*inputs())
        found = {name: read(taps, name) for name in modules}
    for module in modules.values():
        module.set_processor(Recording())
    with torch.no_grad():
        unet(*inputs())
    for name, module in modules.items():
        torch.testing.assert_close(found[name].flatten(0, 1), module.processor.seen, atol=1e-5, rtol=0)
        torch.testing.assert_close(found[name].sum(-1), torch.ones(found[name].shape[:-1]))


def test_with_an_ip_adapter_the_text_s_attention_is_read():
    pipe = tiny.sd()
    modules = cross_attentions(pipe.unet)
    with torch.no_grad(), AttentionTaps(modules) as taps:
        pipe.unet(*inputs())
        plain = read(taps, next(iter(modules))).clone()
    pipe.unet._load_ip_adapter_weights([ip_adapter_weights(pipe.unet)])
    z, t, text = inputs()
    pictures = [torch.randn(2, 1, 16)]
    modules = cross_attentions(pipe.unet)
    first = next(iter(modules))
    with torch.no_grad(), AttentionTaps(modules) as taps:
        pipe.unet(z, t, text, added_cond_kwargs={"image_embeds": pictures})
        found = {name: read(taps, name) for name in modules}
        queries, keys = taps.queries[first], taps.keys[first]
    # The first layer sees the same queries and text keys as without the adapter; every map is over the text alone.
    torch.testing.assert_close(found[first], plain, atol=1e-5, rtol=0)
    assert all(p.shape[-1] == 48 for p in found.values())
    attn = modules[first]
    reference = attn.get_attention_scores(attn.head_to_batch_dim(queries), attn.head_to_batch_dim(keys))
    torch.testing.assert_close(found[first].flatten(0, 1), reference, atol=1e-5, rtol=0)
    assert "IPAdapter" in type(attn.processor).__name__


def ip_adapter_weights(unet):
    """Random weights with an IP-Adapter file's layout: a projection of the picture, and a key and value a layer."""
    width = unet.config.cross_attention_dim
    layers = {}
    # A file numbers the layers in the order of the processors, self-attention (even) counted.
    crossed = [name.removesuffix(".processor") for name in unet.attn_processors if name.endswith("attn2.processor")]
    for i, name in enumerate(crossed):
        for part in ("to_k_ip", "to_v_ip"):
            layers[f"{2 * i + 1}.{part}.weight"] = torch.randn(unet.get_submodule(name).to_k.out_features, width)
    projection = {
        "proj.weight": torch.randn(4 * width, 16), "proj.bias": torch.zeros(4 * width),
        "norm.weight": torch.ones(width), "norm.bias": torch.zeros(width),
    }  # fmt: skip
    return {"image_proj": projection, "ip_adapter": layers}


def test_hooks_leave_with_the_context_also_after_an_exception():
    unet = tiny.unet()
    with pytest.raises(ValueError, match="inside"), AttentionTaps(cross_attentions(unet)):
        raise ValueError("inside")
    assert not any(m._forward_hooks for m in unet.modules())


def test_a_gradient_reaches_the_latent_through_the_taps():
    unet = tiny.unet().requires_grad_(False)
    z, t, text = inputs()
    z.requires_grad_()
    modules = cross_attentions(unet)
    with AttentionTaps(modules) as taps:
        unet(z, t, text)
        loss = sum(read(taps, name)[..., 3].square().mean() for name in modules)
    (gradient,) = torch.autograd.grad(loss, z)
    assert gradient.isfinite().all() and gradient.abs().sum() > 0


@pytest.mark.parametrize("at_once", [2**29, 1])
def test_modules_of_several_shapes_are_averaged_alike_before_and_after_a_graph(at_once, monkeypatch):
    monkeypatch.setattr(taps_module, "_AT_ONCE", at_once)
    torch.manual_seed(0)
    shapes = {"a": (2, 8), "b": (4, 4), "c": (2, 8), "d": (2, 6)}
    modules = {name: Attention(16, cross_attention_dim=12, heads=h, dim_head=d) for name, (h, d) in shapes.items()}
    x, words = torch.randn(4, 9, 16), torch.randn(4, 5, 12)
    with torch.no_grad(), AttentionTaps(modules) as taps:
        for module in modules.values():
            module(x, words)
        each = {name: read(taps, name).mean(1) for name in modules}
        for _ in range(2):
            for rows in (slice(None), slice(1, 3)):
                torch.testing.assert_close(taps.maps(rows=rows), sum(each.values())[rows] / 4)
                found = taps.layers(rows=rows)
                assert list(found) == list(modules)
                for name in modules:
                    torch.testing.assert_close(found[name], each[name][rows])
            kept = [x.clone() for x in taps.kept()]
            taps.clear()
            assert taps.keep([x, *kept]) == len(kept) == 6


def test_the_layers_of_a_size():
    pipe = tiny.sd(unet=tiny.unet(**tiny.THREE_LEVELS))
    layers, grid = UNet().attention(pipe, (32, 48), 16)
    assert grid == (16, 24)
    assert sorted(name.split(".")[0] + name.split(".")[1] for name in layers) == [
        "down_blocks1",
        "up_blocks1",
        "up_blocks1",
    ]
    with pytest.raises(PipelineError, match=r"map_size=9.*\[8, 16, 32\]"):
        UNet().attention(pipe, (32, 32), 9)


def test_p8_attention_that_overflows_in_half_precision_gives_what_fused_attention_gives():
    torch.manual_seed(0)
    q, k = (60 * torch.randn(1, 16, 64)).half(), (60 * torch.randn(1, 7, 64)).half()
    assert not (q @ k.transpose(-1, -2)).isfinite().all()
    value = torch.eye(7).half()[None, None]
    expected = torch.nn.functional.scaled_dot_product_attention(q[:, None], k[:, None], value)
    found = softmax(q[:, None], k[:, None], 64**-0.5)
    torch.testing.assert_close(found, expected.float(), atol=2e-3, rtol=0)


class Around(AttnProcessor):
    """Computes queries by the weights, and not by the module."""

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, *args, **kwargs):
        words = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = hidden_states @ attn.to_q.weight.T, words @ attn.to_k.weight.T, attn.to_v(words)
        return attn.to_out[0](torch.softmax(q @ k.transpose(1, 2), -1) @ v)


def test_a_processor_that_goes_round_the_projections_is_refused_by_name():
    pipe = tiny.sd()
    pipe.unet.set_attn_processor(Around())
    with pytest.raises(PipelineError, match=r"Around, does not call the modules to_q and to_k.*semantic_weight=0"):
        DyMO(tiny.brightness)(pipe, tiny.PROMPT, **tiny.SMALL)
    assert DyMO(tiny.brightness, semantic_weight=0)(pipe, tiny.PROMPT, **tiny.SMALL).images.isfinite().all()
