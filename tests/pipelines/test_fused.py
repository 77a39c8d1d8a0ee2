"""Compiled functions of a denoiser: their formulas, a denoiser's own numbers, and what they leave alone."""

import pytest
import tiny
import torch
import torch.nn.functional as F
from torch import nn

from dymo.pipelines.block import OneBlock
from dymo.pipelines.fused import fused, gated, group_normed

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # torch's own, in inductor

BACKEND = "aot_eager"


def closed_form(x, groups, weight, bias, eps):
    whole = x.double().unflatten(1, (groups, -1)).flatten(2)
    normed = (whole - whole.mean(-1, keepdim=True)) / (whole.var(-1, correction=0, keepdim=True) + eps).sqrt()
    return (normed.view(x.shape) * weight.double().view(1, -1, 1, 1) + bias.double().view(1, -1, 1, 1)).to(x)


def gelu(x):
    return x * (1 + torch.erf(x / 2**0.5)) / 2


@pytest.mark.parametrize("backend", [BACKEND, "inductor"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients_are_those_of_the_formulas(backend, layout):
    torch.manual_seed(0)
    x = torch.randn(3, 5, 16, requires_grad=True)
    tiny_image = torch.randn(2, 8, 6, 4).to(memory_format=layout).requires_grad_()
    weight, bias = torch.randn(2, 8)
    for given, found, expected in (
        (x, gated(x, backend), x[..., :8] * gelu(x[..., 8:])),
        (tiny_image, group_normed(tiny_image, weight, bias, 4, 1e-3, backend), closed_form(tiny_image, 4, weight, bias, 1e-3)),
    ):
        seed = torch.randn_like(found)
        torch.testing.assert_close(found, expected)
        mine, theirs = (torch.autograd.grad(y, given, seed)[0] for y in (found, expected))
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)
    assert group_normed(tiny_image, weight, bias, 4, 1e-3, backend).stride() == tiny_image.stride()


def test_a_denoiser_gives_the_same_with_them_all_rows_and_one():
    """SDXL's, which has all that Stable Diffusion's has, and other tensors of a row each."""
    torch.manual_seed(1)
    unet = tiny.unet_xl().requires_grad_(False)
    z, words = torch.randn(2, 4, 8, 8), torch.randn(2, 5, unet.config.cross_attention_dim)
    width = unet.add_embedding.linear_1.in_features - 6 * unet.config.addition_time_embed_dim
    more = {"added_cond_kwargs": {"text_embeds": torch.randn(2, width), "time_ids": torch.ones(2, 6)}}

    def run(z):
        return unet(z, 500, words, return_dict=False, **more)[0]

    alone = z.clone().requires_grad_()
    expected = run(alone)
    seed = torch.randn_like(expected[1:])
    (gradient,) = torch.autograd.grad(expected[1:], alone, seed)
    with fused(unet, BACKEND) as count:
        assert count == sum(type(m).__name__ in ("GEGLU", "GroupNorm") for m in unet.modules())
        torch.testing.assert_close(run(z), expected, atol=1e-5, rtol=1e-4)
        with OneBlock(2, 1) as rows:
            whole = z.clone().requires_grad_()
            words_, more_ = words, more
            shown = rows.shown(whole)
            words = rows.shown(words_)
            more = {"added_cond_kwargs": {k: rows.shown(v) for k, v in more_["added_cond_kwargs"].items()}}
            found = run(shown)
    torch.testing.assert_close(OneBlock.whole(found), expected, atol=1e-5, rtol=1e-4)
    (mine,) = torch.autograd.grad(found, whole, seed)
    torch.testing.assert_close(mine, gradient, atol=1e-5, rtol=1e-3)
    assert not any("forward" in vars(m) for m in unet.modules())


def test_what_is_watched_or_of_another_class_is_left_alone():
    class Own(nn.GroupNorm):
        pass

    watched, own = nn.GroupNorm(2, 4), Own(2, 4)
    watched.register_forward_hook(lambda *_: None)
    with fused(nn.Sequential(watched, own, nn.GroupNorm(2, 4, affine=False)), BACKEND) as count:
        assert count == 1


def test_a_function_of_one_shape_is_compiled_once():
    from torch._dynamo.utils import counters

    x = torch.randn(1, 2, 12)
    gated(x, BACKEND)
    before = counters["stats"]["unique_graphs"]
    with torch.no_grad():
        gated(x, BACKEND)
    for y in (x, x, x.clone().requires_grad_()):
        torch.testing.assert_close(gated(y + 1, BACKEND), (y + 1)[..., :6] * F.gelu((y + 1)[..., 6:]))
    assert counters["stats"]["unique_graphs"] == before
