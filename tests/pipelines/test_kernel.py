"""Maps at torch's attention kernel: on one layer whose probabilities are computed beside it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dymo.errors import PipelineError
from dymo.pipelines import kernel
from dymo.pipelines.kernel import KernelTaps, Places
from dymo.pipelines.packing import Packing

ROWS, COLUMNS, TEXT, DEPTH = 4, 6, 5, 8


class Layer(nn.Module):
    """Attention of `heads` over [text, image], or over all keys for the image's queries alone, which notes its probabilities."""

    def __init__(self, heads=4, groups=1, fused=True):
        super().__init__()
        self.heads, self.groups, self.fused = heads, groups, fused
        self.q, self.k = nn.Linear(DEPTH, heads * DEPTH), nn.Linear(DEPTH, heads // groups * DEPTH)

    def forward(self, x, mask=None):
        q, k = (f(x).unflatten(-1, (-1, DEPTH)).transpose(1, 2) for f in (self.q, self.k))
        every = k.repeat_interleave(self.groups, 1)
        scores = q @ every.transpose(-1, -2) * 0.3
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
        self.seen = scores.softmax(-1)
        if not self.fused:
            return self.seen @ every
        return F.scaled_dot_product_attention(q, k, k, attn_mask=mask, scale=0.3, enable_gqa=self.groups > 1)


def joint(batch=2, seed=0):
    return torch.randn(batch, TEXT + ROWS * COLUMNS, DEPTH, generator=torch.Generator().manual_seed(seed))


def taps(*layers, stride=1, places=None):
    return KernelTaps(
        {str(i): layer for i, layer in enumerate(layers)}, (ROWS, COLUMNS), stride, layers[-1],
        places or Places(TEXT, 0, TEXT),
    )  # fmt: skip


MASKS = {
    "none": None,
    "of keys": torch.arange(TEXT + ROWS * COLUMNS)[None, None, None] != 2,
    "a bias of keys and samples": 0.5 * torch.randn(2, 1, 1, TEXT + ROWS * COLUMNS, generator=torch.Generator().manual_seed(4)),
    "of queries and heads": torch.rand(2, 4, TEXT + ROWS * COLUMNS, TEXT + ROWS * COLUMNS, generator=torch.Generator().manual_seed(5)) > 0.1,
}  # fmt: skip


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("at_once", [1, 2**26])
def test_the_probabilities_of_the_latents_queries_at_the_prompt_s_keys(mask, at_once, monkeypatch):
    """Head by head, where memory asks, as all at once; with the gradient."""
    monkeypatch.setattr(kernel, "_AT_ONCE", at_once)
    layers = [Layer(), Layer(groups=2)]
    x = joint().requires_grad_()
    with taps(*layers) as seen:
        for layer in layers:
            layer(x, MASKS[mask])
        found = seen.maps()
    wanted = torch.stack([layer.seen[:, :, TEXT:, :TEXT].mean(1) for layer in layers]).mean(0)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    ours, theirs = (torch.autograd.grad((maps * weights).sum(), x, retain_graph=True)[0] for maps in (found, wanted))
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)


def test_every_second_token_of_some_rows_with_a_place_of_its_own_for_each_sample():
    layer, x = Layer(), joint(3)
    starts = (3, 5, 4)
    with torch.no_grad(), taps(layer, stride=2, places=Places(starts, (1, 0, 2), 3)) as seen:
        layer(x)
        assert seen.grid == (2, 3)
        found = seen.maps(rows=slice(1, 3))
    for k, (image, text) in enumerate(((5, 0), (4, 2))):
        pixels = [image + r * COLUMNS + c for r in (0, 2) for c in (0, 2, 4)]
        pixels = [min(i, TEXT + ROWS * COLUMNS - 1) for i in pixels]
        wanted = layer.seen[1 + k, :, pixels, text : text + 3].mean(0)
        torch.testing.assert_close(found[k], wanted, atol=1e-6, rtol=0)


def test_of_several_forwards_the_first_is_kept_and_hooks_leave_after_an_exception():
    layer = Layer()
    with torch.no_grad(), taps(layer) as seen:
        layer(joint(seed=1))
        first = layer.seen
        layer(joint(seed=2))
        torch.testing.assert_close(seen.maps(), first[:, :, TEXT:, :TEXT].mean(1), atol=1e-6, rtol=0)
        seen.clear()
        with pytest.raises(RuntimeError):
            layer(torch.randn(1, 2, DEPTH + 1))
        layer(joint(seed=3))
        torch.testing.assert_close(seen.maps(), layer.seen[:, :, TEXT:, :TEXT].mean(1), atol=1e-6, rtol=0)
    assert not layer._forward_hooks and not layer._forward_pre_hooks
    F.scaled_dot_product_attention(*[torch.zeros(1, 1, 1, 1)] * 3)
    assert not seen.entered


def test_the_kernel_is_called_once_more_in_the_same_module():
    """The call that is read is the one that is asked for: the prompt's tokens may be queries of one, the image's of another."""
    x, layers, found = joint(), nn.ModuleList([Layer(), Layer()]), []
    layers.forward = lambda x: [layer(x) for layer in layers]
    for call in (0, -1):
        with torch.no_grad(), KernelTaps({"twice": layers}, (ROWS, COLUMNS), 1, layers, Places(TEXT, 0, TEXT), call=call) as seen:
            layers(x)
            found.append(seen.maps())
    for maps, layer in zip(found, layers, strict=True):
        torch.testing.assert_close(maps, layer.seen[:, :, TEXT:, :TEXT].mean(1), atol=1e-6, rtol=0)
    assert not torch.allclose(*found)


def test_another_kernel_than_torch_s_is_refused():
    layer = Layer(fused=False)
    with torch.no_grad(), taps(layer) as seen:
        layer(joint())
        with pytest.raises(PipelineError, match=r"attention of 0 .*set_attention_backend.*semantic_weight=0"):
            seen.maps()


@pytest.mark.parametrize("patch", [1, 2])
def test_packing_is_that_of_flux(patch):
    from diffusers import Flux2Pipeline, FluxPipeline

    z = torch.randn(2, 4, 6, 8)
    packed = FluxPipeline._pack_latents(z, 2, 4, 6, 8) if patch == 2 else Flux2Pipeline._pack_latents(z)
    found = Packing(6, 8, patch)
    assert torch.equal(found.pack(z), packed) and torch.equal(found.unpack(packed), z)
