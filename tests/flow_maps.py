"""What the maps of each family of transformers must be: its attention computed a second time, from its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import tiny
import torch
from readers import chat_tokenizer
from transformers import ByT5Tokenizer


@dataclass(frozen=True)
class Reference:
    """A family's attention computed from its parts: what the projections and norms give, the rotary embedding by complex numbers.

    attention: the name of its module, {} for the layer's number; names: of each layer, where they are no series. of(module, parts, given)
    -> (scores (B, heads, queries, keys) before softmax, image queries, text keys): `parts` are the outputs of the module's children by
    name, `given` the arguments that it was called with.
    """

    attention: str
    layers: tuple[int, ...]
    children: tuple[str, ...]
    of: Callable[[Any, dict[str, torch.Tensor], dict[str, Any]], tuple[torch.Tensor, slice, slice]]
    names: tuple[str, ...] = ()

    @contextmanager
    def reading(self, pipe: Any) -> Iterator[Callable[[], torch.Tensor]]:
        """Inside, the pipeline's next forward is read; the call gives the maps, (conditional rows, queries, text)."""
        handles, seen = [], {}
        for i, name in zip(self.layers, self.names or map(self.attention.format, self.layers), strict=True):
            module = pipe.transformer.get_submodule(name)
            own = seen[i] = (module, {}, {})
            for child in self.children:
                if (part := attrgetter(child)(module)) is None:
                    continue
                # A copy: CogView4 turns in place what its norms gave.
                handles.append(part.register_forward_hook(lambda m, a, out, own=own, child=child: keep(own[1], child, out.clone())))
            handles.append(
                module.register_forward_pre_hook(lambda m, a, k, own=own: keep(own[2], "given", {"args": a, **k}), with_kwargs=True)
            )

        def maps() -> torch.Tensor:
            found = []
            for module, parts, given in seen.values():
                scores, image, text = self.of(module, parts, given["given"])
                found.append(scores.float().softmax(-1)[:, :, image, text].mean(1))
            return torch.stack(found).mean(0).detach()

        try:
            yield maps
        finally:
            for handle in handles:
                handle.remove()


def keep(kept: dict, name: str, found: Any) -> None:
    kept.setdefault(name, found)


def heads(x: torch.Tensor, module: Any) -> torch.Tensor:
    """(B, n, heads d) or (B, n, heads, d) -> (B, heads, n, d)."""
    return (x.unflatten(-1, (module.heads, -1)) if x.ndim == 3 else x).transpose(1, 2)


def turned(x: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """Rotary embedding by complex numbers; x (B, heads, n, d), pairs of neighbours; angle (n, d / 2) or (B, n, d / 2)."""
    pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * (angle if angle.ndim == 2 else angle[:, None])).flatten(-2)


def complex_of(cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """(n, d), each value twice -> (n, d / 2)."""
    return torch.complex(cosine.double(), sine.double())[:, ::2]


def halves(x: torch.Tensor) -> torch.Tensor:
    """A dimension and that half of them further as neighbours, of the last one."""
    return x.unflatten(-1, (2, -1)).transpose(-1, -2).flatten(-2)


def product(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    return q.double() @ k.double().transpose(-1, -2) * q.shape[-1] ** -0.5


def of_sd3(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    normed = "norm_q" in parts
    q, k, added = (parts[a] if normed else heads(parts[b], module) for a, b in
                   (("norm_q", "to_q"), ("norm_k", "to_k"), ("norm_added_k", "add_k_proj")))  # fmt: skip
    n = q.shape[2]
    scores = product(q, torch.cat([k, added], 2))
    return scores[len(scores) // 2 :], slice(0, n), slice(n, None)


def of_flux(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """[text, image], one angle for both; Chroma adds 1 to the scores among all that is no padding."""
    q, k = (
        torch.cat([heads(parts[f"norm_added_{x}"], module), heads(parts[f"norm_{x}"], module)], 2) for x in ("q", "k")
    )
    angle, text = complex_of(*given["image_rotary_emb"]), parts["norm_added_q"].shape[1]
    return product(turned(q, angle), turned(k, angle)) + given.get("attention_mask", 0), slice(text, None), slice(0, text)


def of_aura_flow(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """[8 registers, text, 8 x 8 tokens of the image], in two streams or one."""
    q, k = (torch.cat([heads(parts[n], module) for n in (f"norm_added_{x}", f"norm_{x}") if n in parts], 2) for x in ("q", "k"))
    scores, text = product(q, k), q.shape[2] - 64
    return scores[len(scores) // 2 :], slice(text, None), slice(8, text)


def of_qwen(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """[text, image], each with its own angle."""
    image, text = given["image_rotary_emb"]
    q, k = (
        torch.cat([turned(heads(parts[f"norm_added_{x}"], module), text), turned(heads(parts[f"norm_{x}"], module), image)], 2)
        for x in ("q", "k")
    )
    return product(q, k), slice(len(text), None), slice(0, len(text))


def of_cross(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """All keys are text, with a bias for the padding."""
    scores = product(heads(parts["to_q"], module), heads(parts["to_k"], module)) + given["attention_mask"][:, None]
    return scores[len(scores) // 2 :], slice(None), slice(None)


def of_hunyuan_dit(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """All keys are text, unturned, and so is what fills up."""
    scores = product(turned(parts["norm_q"], complex_of(*given["image_rotary_emb"])), parts["norm_k"])
    return scores[len(scores) // 2 :], slice(None), slice(None)


def of_lumina(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """[text, 4 x 4 tokens of the image]; a key for every three queries."""
    q, k = (turned(heads(parts[f"norm_{x}"], module), given["image_rotary_emb"]) for x in ("q", "k"))
    assert (q.shape[1], k.shape[1]) == (3, 1) and given["attention_mask"] is None
    text = q.shape[2] - 16
    return product(q, k), slice(text, None), slice(0, text)


def of_z_image(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """[8 x 8 tokens of the image, text of the prompt]; the positive rows first."""
    q, k = (turned(heads(parts[f"norm_{x}"], module), given["freqs_cis"]) for x in ("q", "k"))
    scores = product(q, k).masked_fill(~given["attention_mask"][:, None, None], float("-inf"))
    before, after = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"
    length = len(chat_tokenizer()(before + tiny.PROMPT + after).input_ids)
    return scores[: len(scores) // 2], slice(0, 64), slice(64, 64 + length)


def of_krea(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """[text with padding in its middle, 8 x 8 tokens of the image], one angle for both."""
    angle, mask = complex_of(*given["image_rotary_emb"]), given["attention_mask"]
    q, k = (turned(heads(parts[f"norm_{x}"], module), angle) for x in ("q", "k"))
    assert (q.shape[1], k.shape[1]) == (2, 1) and 0 < mask.sum() < mask.numel()
    return product(q, k).masked_fill(~mask, float("-inf")), slice(-64, None), slice(0, q.shape[2] - 64)


def of_qwen21(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """[text, 4 x 4 tokens of the image]; the text's keys may be those of the first step."""
    q, k = (turned(heads(parts[f"norm_{x}"], module), given["rotary_emb"]) for x in ("q", "k"))
    if given["kv_cache_mode"] == "cached":
        k = torch.cat([given["layer_cache"].k.transpose(1, 2), k], 2)
        assert q.shape[2] == 16 < k.shape[2]
    return product(q, k), slice(-16, None), slice(0, k.shape[2] - 16)


def of_hidream(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """[8 x 8 tokens of the image, T5's text, Llama's twice], turned by matrices."""
    q, k = (
        torch.cat([heads(parts[f"{x}_rms_norm"], module), heads(parts[f"{x}_rms_norm_t"], module)], 2) for x in ("q", "k")
    )
    turns = given["image_rotary_emb"][:, :, 0, :, :, 0]  # (B, n, d / 2, 2), cosines and sines
    q, k = (turned(x, torch.complex(*turns.double().unbind(-1))) for x in (q, k))
    scores = product(q, k)
    return scores[len(scores) // 2 :], slice(0, 64), slice(64, 64 + 3 * 40)


def of_ernie(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """[8 x 8 tokens of the image, text]; a number is turned with that half of the depth away, by an angle of its own."""
    angle = given["image_rotary_emb"].double().transpose(1, 2)  # (B, 1, n, d)
    half = torch.eye(8).roll(4, 0).double() * torch.tensor([1.0] * 4 + [-1.0] * 4)  # minus the second half, before the first one
    q, k = (heads(parts[f"norm_{x}"], module).double() for x in ("q", "k"))
    q, k = (x * angle.cos() + x @ half.T * angle.sin() for x in (q, k))
    scores = product(q, k).masked_fill(~given["attention_mask"], float("-inf"))
    return scores[len(scores) // 2 :], slice(0, 64), slice(64, None)
def of_cogview4(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """[text, image]: the image's tokens turned, by pairs of a dimension and that half of them further."""
    cosine, sine = given["image_rotary_emb"]
    angle, text = torch.complex(cosine.double(), sine.double())[:, : cosine.shape[1] // 2], given["encoder_hidden_states"].shape[1]

    def placed(x: torch.Tensor) -> torch.Tensor:
        pairs = halves(x)
        return torch.cat([pairs[:, :, :text].double(), turned(pairs[:, :, text:], angle)], 2)

    q, k = (placed(parts[f"norm_{x}"]) for x in ("q", "k"))
    return product(q, k), slice(text, None), slice(0, text)


def of_cogview3(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """[text, image], unturned."""
    scores, text = product(parts["norm_q"], parts["norm_k"]), given["encoder_hidden_states"].shape[1]
    return scores[len(scores) // 2 :], slice(text, None), slice(0, text)


def of_prx(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """Queries of 4 x 4 tokens of the image, keys [text, image]: the image's turned by matrices."""
    angle = torch.complex(*given["image_rotary_emb"][:, 0, :, :, :, 0].double().unbind(-1))
    q, k = (turned(parts[f"norm_{x}"], angle) for x in ("q", "k"))
    text = parts["norm_added_k"]
    mask = torch.cat([given["attention_mask"], torch.ones(len(q), q.shape[2], dtype=torch.bool)], 1)
    scores = product(q, torch.cat([text, k], 2)).masked_fill(~mask[:, None, None], float("-inf"))
    return scores[len(scores) // 2 :], slice(None), slice(0, text.shape[2])


def of_ideogram(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """[padding, text, 4 x 4 tokens of the image], turned by pairs of a dimension and that half of them further."""
    angle = torch.complex(*(x[..., : x.shape[-1] // 2].double() for x in given["image_rotary_emb"]))
    q, k = (turned(halves(heads(parts[f"norm_{x}"], module)), angle) for x in ("q", "k"))
    return product(q, k).masked_fill(~given["attention_mask"], float("-inf")), slice(-16, None), slice(0, -16)


def of_bria(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """As FLUX.1's, behind the rows without the prompt; FIBO's padding is masked."""
    scores, image, text = of_flux(module, parts, {"image_rotary_emb": given["image_rotary_emb"]})
    mask = given.get("attention_mask")
    scores = scores if mask is None else scores.masked_fill(~mask, float("-inf"))
    return scores[len(scores) // 2 :], image, text


def of_fibo2(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """Queries [summary, 4 x 4 tokens of the image], keys those of the prompt in its chat."""
    return product(heads(parts["norm_q"], module), heads(parts["norm_k"], module)), slice(-16, None), slice(None)


def of_nucleus(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """Queries of the image's tokens, keys [image, text], each with its own angle."""
    image, text = given["image_rotary_emb"]
    q, k = (turned(heads(parts[f"norm_{x}"], module), image) for x in ("q", "k"))
    k = torch.cat([k, turned(heads(parts["norm_added_k"], module), text)], 2)
    assert (q.shape[1], k.shape[1]) == (2, 1)
    mask = given.get("attention_mask")
    scores = product(q, k) if mask is None else product(q, k).masked_fill(~mask.bool()[:, None, None], float("-inf"))
    return scores, slice(None), slice(q.shape[2], None)


def of_lumina_next(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """All keys are text, the image's queries turned; the positive rows first; a key for every two queries."""
    q, k = (parts[f"norm_{x}"].unflatten(-1, (-1, 8)).transpose(1, 2) for x in ("q", "k"))
    assert (q.shape[1], k.shape[1]) == (2, 1)
    scores = product(turned(q, given["query_rotary_emb"]), k).masked_fill(~given["attention_mask"][:, None, None], float("-inf"))
    return scores[: len(scores) // 2], slice(None), slice(None)


def of_kandinsky5(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """All keys are text, and nothing is turned."""
    return product(*(parts[f"{x}_norm"].transpose(1, 2) for x in ("query", "key"))), slice(None), slice(None)


def of_joyimage(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """[image, text], the image's tokens turned."""
    angle = complex_of(*given["image_rotary_emb"][0])
    q, k = (
        torch.cat([turned(heads(parts[f"img_attn_{x}_norm"], module), angle), heads(parts[f"txt_attn_{x}_norm"], module)], 2) for x in ("q", "k")
    )
    return product(q, k), slice(0, len(angle)), slice(len(angle), None)


def of_omnigen(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """[padding, text, timestep, 4 x 4 tokens of the image], all rows turned as the first, by pairs of a dimension and that half of them further."""
    angle = torch.complex(*(x[:, :4].double() for x in given["image_rotary_emb"]))
    q, k = (turned(halves(parts[f"to_{x}"].unflatten(-1, (-1, 8)).transpose(1, 2)), angle) for x in ("q", "k"))
    scores = product(q, k) + given["attention_mask"]
    return scores[: len(scores) // 2], slice(-16, None), slice(0, -17)


def of_hunyuan_image(module: Any, parts: dict, given: dict) -> tuple[torch.Tensor, slice, slice]:
    """[image, text]: the image's tokens turned, the text those that ByT5 read, then the chat's, then what fills both up."""
    angle = complex_of(*given["image_rotary_emb"])
    image = (turned(heads(parts[f"norm_{x}"], module), angle) for x in ("q", "k"))
    text = (heads(parts[f"norm_added_{x}"], module) for x in ("q", "k"))
    q, k = (torch.cat(pair, 2) for pair in zip(image, text, strict=True))
    scores = product(q, k).masked_fill(~given["attention_mask"], float("-inf"))
    second = len(ByT5Tokenizer()("Text \"ok\". ").input_ids)
    return scores, slice(0, len(angle)), slice(len(angle) + second, len(angle) + second + 200)


_NORMS = ("norm_q", "norm_k", "norm_added_q", "norm_added_k")
_DOUBLE = Reference("transformer_blocks.{}.attn", (0, 1), _NORMS, of_flux)
_CROSS = Reference("transformer_blocks.{}.attn2", (0, 1), ("to_q", "to_k"), of_cross)
REFERENCE: dict[str, Reference] = {
    "sd3.5": Reference("transformer_blocks.{}.attn", (0, 2), ("norm_q", "norm_k", "norm_added_k"), of_sd3),
    "sd3": Reference("transformer_blocks.{}.attn", (0, 2), ("to_q", "to_k", "add_k_proj"), of_sd3),
    "flux-dev": _DOUBLE, "flux-schnell": _DOUBLE, "flux-true-cfg": _DOUBLE, "flux2-dev": _DOUBLE, "flux2-klein": _DOUBLE,
    "chroma": _DOUBLE, "longcat-image": _DOUBLE, "ovis-image": _DOUBLE, "pixart-sigma": _CROSS, "sana": _CROSS,
    "lumina2": Reference("layers.{}.attn", (0, 1), ("norm_q", "norm_k"), of_lumina),
    "z-image": Reference("layers.{}.attention", (0, 1), ("norm_q", "norm_k"), of_z_image),
    "qwen-image": Reference("transformer_blocks.{}.attn", (0, 1), _NORMS, of_qwen),
    "aura-flow": Reference("", (0, 2), _NORMS, of_aura_flow, ("joint_transformer_blocks.0.attn", "single_transformer_blocks.1.attn")),
    **dict.fromkeys(
        ("qwen-image-2.1", "qwen-image-2.1-uncached"), Reference("transformer_blocks.{}.attn", (0, 1), ("norm_q", "norm_k"), of_qwen21)
    ),
    "hidream": Reference(
        "double_stream_blocks.{}.block.attn1", (0, 1), ("q_rms_norm", "k_rms_norm", "q_rms_norm_t", "k_rms_norm_t"), of_hidream
    ),
    "ernie-image": Reference("layers.{}.self_attention", (0, 1), ("norm_q", "norm_k"), of_ernie),
    "krea2": Reference("transformer_blocks.{}.attn", (0, 1), ("norm_q", "norm_k"), of_krea),
    "hunyuan-image": Reference("transformer_blocks.{}.attn", (0, 1), _NORMS, of_hunyuan_image),
    "cogview3-plus": Reference("transformer_blocks.{}.attn1", (0, 1), ("norm_q", "norm_k"), of_cogview3),
    "prx": Reference("blocks.{}.attention", (0, 1), ("norm_q", "norm_k", "norm_added_k"), of_prx),
    "ideogram4": Reference("layers.{}.attention", (0, 1), ("norm_q", "norm_k"), of_ideogram),
    **dict.fromkeys(("bria", "fibo"), Reference("transformer_blocks.{}.attn", (0, 1), _NORMS, of_bria)),
    "fibo2": Reference("layers.{}.cross_attention", (0, 1), ("norm_q", "norm_k"), of_fibo2, ("layers.0.cross_attention", "layers.2.cross_attention")),
    "nucleus-image": Reference("transformer_blocks.{}.attn", (0, 1), ("norm_q", "norm_k", "norm_added_k"), of_nucleus),
    "lumina-next": Reference("layers.{}.attn2", (0, 1), ("norm_q", "norm_k"), of_lumina_next),
    "kandinsky5": Reference("visual_transformer_blocks.{}.cross_attention", (0, 1), ("query_norm", "key_norm"), of_kandinsky5),
    "joyimage": Reference(
        "double_blocks.{}.attn", (0, 1), tuple(f"{stream}_attn_{x}_norm" for stream in ("img", "txt") for x in ("q", "k")), of_joyimage
    ),
    "omnigen": Reference("layers.{}.self_attn", (0, 1), ("to_q", "to_k"), of_omnigen),
    "hunyuan-dit": Reference("blocks.{}.attn2", (0, 3), ("norm_q", "norm_k"), of_hunyuan_dit),
    "cogview4": Reference("transformer_blocks.{}.attn1", (0, 1), ("norm_q", "norm_k"), of_cogview4),
}  # fmt: skip
