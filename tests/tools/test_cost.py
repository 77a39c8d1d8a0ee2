"""The counting: against sums made by hand, and the limits at the real size."""

from __future__ import annotations

import functools
import json

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from dymo.rewards import FunctionReward
from tests import tiny
from tools import cost

PLACES = {"semantic": 0, "preference": 1}


def fake() -> FakeTensorMode:
    return FakeTensorMode(allow_non_fake_inputs=True)


# Operations.


def test_convolution_and_matrix_product_by_hand():
    conv, linear = nn.Conv2d(3, 8, 3, padding=1).requires_grad_(False), nn.Linear(8, 5).requires_grad_(False)
    account = cost.Account()
    decode = account.forward("decode", lambda z: conv(z))
    score = account.forward("reward", lambda x: linear(x.mean((2, 3))).sum(1))
    differentiate = account.backward(lambda loss, source: torch.autograd.grad(loss, source)[0])
    with account.open():
        z = torch.randn(2, 3, 10, 12, requires_grad=True)
        conv(z * 1)  # before the beginning
        account.begin()
        differentiate(score(decode(z * 1)).sum(), z)
        account.end()
    of_conv, of_linear = 2 * (2 * 8 * 10 * 12) * (3 * 9), 2 * 2 * 8 * 5
    wanted = {"decode forward": of_conv, "decode backward": of_conv}
    wanted |= {"reward forward": of_linear, "reward backward": of_linear}
    assert {part: n for part, n in account.flops.items() if n} == wanted
    assert account.total == 2 * (of_conv + of_linear)


@pytest.mark.parametrize("faked", [False, True])
def test_attention_by_hand(faked):
    def make(n):
        x = torch.randn(2, 3, n, 16)
        return (mode.from_tensor(x) if faked else x).requires_grad_()

    mode = fake()
    q, k, v = make(20), make(7), make(7)
    product = 2 * 2 * 3 * 20 * 7 * 16
    with cost.flop_counter() as counter:
        out = F.scaled_dot_product_attention(q, k, v)
        assert counter.get_total_flops() == 2 * product
        torch.autograd.grad(out.sum(), (q, k, v))
    # The scores once more, and the gradients of the weights, of v, of q and of k.
    assert counter.get_total_flops() == (2 + 5) * product


# Bytes.


def test_live_bytes_by_hand():
    with cost.LiveBytes() as live:
        before = torch.zeros(100)
        live.restart()
        a = torch.zeros(1000)
        b = a + 1
        view = b[:10]
        assert live.now == 8000
        del a, b
        assert live.now == 4000  # the view holds its storage
        del view
        assert live.now == 0
        before.add_(1)
        assert live.now == 0
    assert live.peak == 8000


@pytest.mark.parametrize("faked", [False, True])
def test_kept_bytes_are_what_the_backward_needs(faked):
    x = torch.randn(1000)
    x = (fake().from_tensor(x) if faked else x).requires_grad_()
    with cost.LiveBytes() as live:
        y = x
        for _ in range(5):
            y = y.sin()  # keeps its input
        assert live.now == 5 * 4000
        torch.autograd.grad(y.sum(), x)
        del y
        assert live.now == 0
    assert (
        live.peak == 5 * 4000 + 2 * 4 + 2 * 4000
    )  # five outputs, their sum and its gradient, and cos(x) and its product


# The library on a tiny pipeline.


def small(without: FakeTensorMode | None = None) -> cost.Stack:
    def built(build):
        return build() if without is None else cost.without_weights(build, without, torch.float)

    pipe = tiny.sd(unet=built(tiny.unet), vae=built(tiny.vae))
    decoder = built(lambda: AutoencoderTiny(decoder_block_out_channels=(8, 8), num_decoder_blocks=(1, 1)))
    torch.manual_seed(3)
    shown = {name: torch.randn(1, 48, 32) for name in ("prompt_embeds", "negative_prompt_embeds")}
    return cost.Stack(pipe, decoder, FunctionReward(tiny.brightness), shown)


def by_hand(module: nn.Module, run) -> int:
    """2 operations a multiply-add of each layer, from the shapes that pass through it."""
    found = 0

    def seen(layer, args, out):
        nonlocal found
        found += 2 * out.numel() * layer.weight[0].numel()

    def attended(layer, args, kwargs, out):
        nonlocal found
        x = args[0]
        words = x if kwargs.get("encoder_hidden_states") is None else kwargs["encoder_hidden_states"]
        pixels, keys = (y.shape[1] if y.ndim == 3 else y[0, 0].numel() for y in (x, words))
        found += 2 * 2 * x.shape[0] * pixels * keys * layer.to_q.out_features

    handles = [
        layer.register_forward_hook(seen) for layer in module.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))
    ]
    handles += [
        layer.register_forward_hook(attended, with_kwargs=True)
        for layer in module.modules()
        if hasattr(layer, "to_q") and layer.to_q.out_features
    ]
    with torch.no_grad():
        run()
    for handle in handles:
        handle.remove()
    return found


def test_a_tiny_pipeline_is_counted_as_by_hand():
    stack = small()
    unet, vae = stack.pipe.unet, stack.pipe.vae
    rows = torch.randn(2, 4, 16, 16), 500, torch.randn(2, 48, 32)
    denoiser = by_hand(unet, lambda: unet(*rows))
    decoder = by_hand(vae, lambda: vae.decode(torch.randn(1, 4, 16, 16)))
    plain = stack.count("unguided", "default")
    assert plain.flops["denoiser forward"] == denoiser == plain.total
    full = stack.count("preference", "default")
    assert (full.flops["denoiser forward"], full.flops["decode forward"]) == (denoiser, decoder)
    assert full.flops["denoiser backward"] > denoiser * 0.9
    assert full.flops["reward forward"] == full.flops["reward backward"] == 0
    assert full.peak >= full.kept > plain.kept
    one_row = stack.count("preference", "default", gradient="conditional")
    assert one_row.flops["denoiser backward"] * 2 == full.flops["denoiser backward"]
    assert stack.count("preference", "fast").flops["denoiser backward"] == 0
    early = stack.count("semantic", "default")
    assert early.flops["denoiser forward"] == denoiser
    assert 0 < early.flops["denoiser backward"] < full.flops["denoiser backward"] / 2
    assert early.flops["decode forward"] == 0


def test_fake_weights_count_like_real_ones():
    real, faked = (small(without).count("mixed", "fast", tiny=True) for without in (None, fake()))
    assert faked.flops == real.flops and real.total > 0
    assert faked.kept == pytest.approx(real.kept, rel=0.02)
    assert faked.peak == pytest.approx(real.peak, rel=0.02)


# The real size.


@pytest.mark.parametrize(
    ("build", "millions"),
    [
        (cost.unet_sd15, 859.521), (cost.unet_sdxl, 2567.464), (functools.partial(cost.vae, 512, 0.18215), 83.654),
        (lambda: AutoencoderTiny().decoder, 1.2226), (cost.clip_vit_h, 986.109),
    ],
)  # fmt: skip
def test_the_models_have_the_published_numbers_of_parameters(build, millions):
    module = cost.without_weights(build, fake())
    assert sum(p.numel() for p in module.parameters()) / 1e6 == pytest.approx(millions, abs=1e-3)


@functools.cache
def real_size(family: str) -> cost.Stack:
    mode = fake()
    return cost.stack(family, mode, cost.reward_of(cost.without_weights(cost.clip_vit_h, mode)))


def test_sd15_stays_within_its_limits():
    stack = real_size("SD1.5")
    for setting, stage, tiny_decoder in (
        ("default", "preference", False),
        ("fast", "semantic", True),
        ("fast", "preference", True),
    ):
        found = stack.count(stage, setting, tiny_decoder)
        limit = cost.LIMITS["SD1.5", setting][PLACES[stage]]
        # A count far below the limit would be one that misses something.
        assert 0.6 * limit < found.total / cost.TERA <= limit, (setting, stage)


@pytest.mark.parametrize("family", ["SD1.5", "SDXL"])
def test_an_evaluation_launches_no_more_kernels_than_its_limit(family):
    stack = real_size(family)
    # t = 501 is a step of the words, t = 1 one of the reward.
    (semantic, before), (preference, reads) = stack.launches("fast", tiny=True, borders=(400.0, 400.0))
    # The first evaluation computes the keys and values of the words, and those of a transformer block's own are kept.
    words = 2 * len([name for name, _ in stack.denoiser.named_modules() if name.endswith("attn2")])
    for found, limit in zip((semantic - words, preference), cost.KERNELS[family], strict=True):
        assert 0.7 * limit < found <= limit
    assert before == reads == 1


# The report.


def rows() -> list[cost.Row]:
    parts = dict.fromkeys((*cost.PARTS, "other"), 0) | {"denoiser forward": 2 * cost.TERA}
    made = [
        ("the pipeline alone", "unguided", None, 1),
        ("fast", "preference", 3.7, 1),
        ("fast", "preference", None, 4),
    ]
    return [
        cost.Row("SD1.5", name, stage, 2 * cost.TERA, limit, parts, 10, 20, views) for name, stage, limit, views in made
    ]


def test_the_report_sets_the_cited_figures_beside_the_counted(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cost, "measure", lambda families, say: rows())
    monkeypatch.setattr(
        cost, "launched", lambda families, say: [cost.Launched("SD1.5", "fast", "semantic", 9, 10, 1, 9)]
    )
    assert cost.main(["--json", str(tmp_path / "a.json"), "--markdown", str(tmp_path / "a.md")]) == 0
    shown = capsys.readouterr().out
    assert "reference implementation (cited)" in shown and "16.50" in shown
    found = json.loads((tmp_path / "a.json").read_text())
    assert [row["views"] for row in found["rows"]] == [1, 1, 4]
    assert (tmp_path / "a.md").read_text().count("| SD1.5") == 2 + 2 + 2 + 1


def test_a_count_over_its_limit_fails_the_command(monkeypatch, capsys):
    over = [cost.Row(**{**vars(row), "limit_tflop": 1.9}) for row in rows()]
    monkeypatch.setattr(cost, "measure", lambda families, say: over)
    monkeypatch.setattr(cost, "launched", lambda families, say: [])
    assert cost.main([]) == 1
    assert "over its limit: SD1.5, fast, preference" in capsys.readouterr().err
    assert cost.main(["--no-check"]) == 0
    monkeypatch.setattr(cost, "measure", lambda families, say: [])
    monkeypatch.setattr(
        cost, "launched", lambda families, say: [cost.Launched("SD1.5", "fast", "semantic", 10, 11, 1, 9)]
    )
    assert cost.main([]) == 1
    assert "10 > 9 kernels" in capsys.readouterr().err
