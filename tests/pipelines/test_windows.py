"""Prompts of 150 tokens and prompts with weights: what the encoders are given, and where the words are."""

from __future__ import annotations

import functools
import warnings

import pytest
import tiny
import torch
import zoo
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from dymo import DyMO, PromptError, SemanticGraph
from dymo.errors import PromptWarning
from dymo.methods.attend_excite import AttendExcite
from dymo.methods.plain import Plain
from dymo.wording import wording_of

WINDOW = 77
LONG = (
    "a red apple and a green car on a wide street in the morning light, with a few people who walk by and some birds up "
    "in the air, and then a tall blue lamp, and a good deal of sky and snow, and far off a small cap in grey"
)
GRAPH = SemanticGraph.from_json(
    {"prompt": LONG, "entities": [{"text": "apple", "attributes": ["red"]}, {"text": "car", "attributes": ["green"]},
                                  {"text": "lamp", "attributes": ["tall", "blue"]}, {"text": "cap", "attributes": ["small", "grey"]}]}
)  # fmt: skip
CALL = dict(num_inference_steps=2, height=64, width=64, output_type="pt")
WORDLESS = DyMO(None, semantic_weight=0)


def tokenizer():
    found = tiny.tokenizer.__wrapped__()
    found.model_max_length = WINDOW
    return found


def encoder(kind=CLIPTextModel):
    """tiny's, with CLIP's own window."""
    torch.manual_seed(1 if kind is CLIPTextModel else 2)
    config = {**tiny.text_model(kind).config.to_dict(), "max_position_embeddings": WINDOW}
    return kind(CLIPTextConfig(**config)).eval()


@functools.cache
def pipeline(family: str):
    with torch.random.fork_rng(devices=[]):
        if family == "sd":
            return zoo.sd(tokenizer=tokenizer(), text_encoder=encoder())
        # As in SDXL's own, the two tokenizers differ in what they pad with.
        second = tokenizer()
        second.pad_token = "!"
        pipe = zoo.sdxl(
            tokenizer=tokenizer(), tokenizer_2=second, text_encoder=encoder(),
            text_encoder_2=encoder(CLIPTextModelWithProjection),
        )  # fmt: skip
        pipe.register_to_config(force_zeros_for_empty_prompt=False)
        return pipe


FAMILIES = pytest.mark.parametrize("family", ["sd", "sdxl"])


def chunks(text: str, tok) -> list[list[int]]:
    """Ids in windows of 75 and two more, as the community's pipelines make them."""
    ids = tok(text, add_special_tokens=False, verbose=False).input_ids
    parts = [ids[at : at + WINDOW - 2] for at in range(0, max(1, len(ids)), WINDOW - 2)]
    windows = [[tok.bos_token_id, *part, tok.eos_token_id] for part in parts]
    return [window + [tok.pad_token_id] * (WINDOW - len(window)) for window in windows]


@torch.no_grad()
def embedded(pipe, texts: list[str], negatives: list[str]) -> dict[str, torch.Tensor]:
    """The embeddings of texts of any length, made here by hand."""
    count = max(len(chunks(text, pipe.tokenizer)) for text in [*texts, *negatives])

    def one(text: str) -> tuple[torch.Tensor, torch.Tensor | None]:
        states, pooled = [], None
        for name in ("", "_2"):
            tok, model = getattr(pipe, f"tokenizer{name}", None), getattr(pipe, f"text_encoder{name}", None)
            if tok is None:
                continue
            windows = chunks(text, tok)
            windows += chunks("", tok) * (count - len(windows))
            outputs = [model(torch.tensor([window]), output_hidden_states=True) for window in windows]
            xl = hasattr(pipe, "text_encoder_2")
            states.append(torch.cat([o.hidden_states[-2] if xl else o[0] for o in outputs], dim=1))
            pooled = outputs[0][0] if name else None
        return torch.cat(states, dim=-1), pooled

    found = {}
    for prefix, every in (("", texts), ("negative_", negatives)):
        embeds, pooled = zip(*map(one, every), strict=True)
        found[f"{prefix}prompt_embeds"] = torch.cat(embeds)
        if pooled[0] is not None:
            found[f"{prefix}pooled_prompt_embeds"] = torch.cat(pooled)
    return found


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def run(aligner, pipe, prompt, **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PromptWarning)
        return aligner(pipe, prompt, generator=seeded(), **{**CALL, **more})


@FAMILIES
def test_the_words_behind_the_77th_token_have_positions_and_pairs(family):
    pipe = pipeline(family)
    with pytest.warns(PromptWarning, match="the text encoder's window takes 75: it is encoded in 3 windows"):
        said = wording_of(pipe, {"prompt": LONG})
    flat = [i for window in chunks(LONG, pipe.tokenizer) for i in window]
    assert len(pipe.tokenizer(LONG).input_ids) > 150 and len(flat) == 3 * WINDOW
    pairs = said.pairs(0, GRAPH, None)
    assert not pairs.truncated and len(pairs.positive) == 6 and len(pairs.negative) == 6
    for text, indices in pairs.words.items():
        assert pipe.tokenizer.decode([flat[i] for i in indices]).replace(" ", "") == text
    assert min(pairs.words["lamp"]) > 77 and min(pairs.words["cap"]) > 2 * WINDOW
    assert (pairs.words["cap"], pairs.words["grey"]) in pairs.positive


@FAMILIES
def test_a_long_prompt_unguided_is_its_embeddings_passed_plainly(family):
    pipe = pipeline(family)
    parts = dict(pipe.components)
    for prompts, negatives in (([LONG], ["a dull grey"]), ([LONG, "a red cap"], ["", LONG[:90]])):
        by_hand = embedded(pipe, prompts, negatives)
        plain = pipe(generator=seeded(), **by_hand, **CALL).images
        for run_ in (lambda p, n: run(WORDLESS, pipe, p, negative_prompt=n).images,
                     lambda p, n: run(Plain().run, pipe, p, negative_prompt=n).images):  # fmt: skip
            assert torch.equal(run_(prompts, negatives), plain)
    assert pipe.components == parts
    short = pipe("a red cap", generator=seeded(), **CALL).images
    assert torch.equal(run(WORDLESS, pipe, "a red cap").images, short)


@FAMILIES
def test_the_maps_of_a_word_are_the_mass_of_its_own_key_columns(family):
    """Each later word's map is read at its own columns, all windows long: checked against the maps themselves."""
    pipe, seen = pipeline(family), []

    class Watch:
        name, needs = "watch", "maps"

        def loss(self, now):
            seen.append(now.maps.detach())
            return now.maps.sum((1, 2)) * 0

    aligner = DyMO(None, objectives=[Watch()], record_maps=True, borders=(0, 0), recurrences=0)
    trace = run(aligner, pipe, LONG, graph=GRAPH).trace
    assert all(step.displacement[0] > 0 for step in trace.steps)
    (maps,) = seen[0]
    assert maps.shape[-1] == 3 * WINDOW
    flat = [i for window in chunks(LONG, pipe.tokenizer) for i in window]
    at = max(i for i in range(len(flat)) if pipe.tokenizer.decode(flat[i : i + 2]) == "cap")
    mass = maps[:, at : at + 2].mean(-1)
    shown = torch.tensor(trace.maps[trace.steps[0].index]["0:cap"]).flatten()
    torch.testing.assert_close(shown, mass / mass.max(), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    "name", ["sd-clip-skip", "sd-textual-inversion", "sd-pix2pix", "sdxl", "sdxl-refiner", "sd-lora"]
)
def test_a_weight_of_one_encodes_as_diffusers_does(name):
    """Through the windows, in one of them: layers skipped, placeholders of several vectors, both encoders, a LoRA's scale."""
    case = zoo.CASES[name]
    pipe = case.make()
    more = {"clip_skip": case.kwargs["clip_skip"]} if "clip_skip" in case.kwargs else {}
    if name == "sd-lora":
        from peft import LoraConfig

        pipe.text_encoder.add_adapter(LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
        more = {"cross_attention_kwargs": {"scale": 0.3}}
    call = {"prompt": f"{case.prompt}, (dot:2)", "negative_prompt": "blur", **more}
    weighted = wording_of(pipe, call).call(pipe)
    own = ["prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds"]
    method = getattr(type(pipe), "encode_prompt", zoo.tiny.StableDiffusionPipeline.encode_prompt)
    settings = {"lora_scale": 0.3} if name == "sd-lora" else more
    found = method(
        pipe, prompt=f"{case.prompt}, dot", negative_prompt="blur", device="cpu", num_images_per_prompt=1,
        do_classifier_free_guidance=True, **settings,
    )  # fmt: skip
    dot = wording_of(pipe, call).positive[0].layouts[0].tokens
    for key, value in zip(own, found, strict=False):
        if key == "prompt_embeds":
            changed = (weighted[key] != value).any(-1)[0].nonzero().flatten().tolist()
            assert changed and all(dot - 3 < i <= dot for i in changed)
        else:
            assert torch.equal(weighted[key], value), key


@FAMILIES
def test_a_weight_scales_its_own_tokens_from_the_empty_text(family):
    pipe = pipeline(family)
    call = {"prompt": "a (red:1.5) cap", "negative_prompt": "[grey]"}
    said = wording_of(pipe, call)
    assert said.readings[0].text == "a red cap"
    found, plain, empty = said.call(pipe), embedded(pipe, ["a red cap"], ["grey"]), embedded(pipe, [""], [""])
    for prefix, text, weight in (("", "red", 1.5), ("negative_", "grey", 1 / 1.1)):
        z, e = plain[f"{prefix}prompt_embeds"], empty["prompt_embeds"]
        ids = chunks("a red cap" if text == "red" else "grey", pipe.tokenizer)[0]
        at = [i for i in range(WINDOW) if ids[i] == pipe.tokenizer(text).input_ids[1]]
        at = at if text == "red" else list(range(1, 1 + len(pipe.tokenizer(text).input_ids) - 2))
        wanted = z.clone()
        wanted[:, at] = e[:, at] + weight * (z[:, at] - e[:, at])
        torch.testing.assert_close(found[f"{prefix}prompt_embeds"], wanted, atol=1e-5, rtol=1e-5)
    graph = {"prompt": call["prompt"], "entities": [{"text": "cap", "attributes": ["red"]}]}
    seen = []

    def reward(images, prompts):
        seen.extend(prompts)
        return images.mean((1, 2, 3))

    weighted = run(DyMO(reward, recurrences=0), pipe, call["prompt"], graph=graph)
    assert set(seen) == {"a red cap"} and weighted.trace.prompts == [call["prompt"]]


def test_brackets_that_are_text_reach_the_pipeline_as_they_are():
    pipe = pipeline("sd")
    assert wording_of(pipe, {"prompt": r"a \(red\) cap"}).call(pipe) == {"prompt": "a (red) cap"}
    call = {"prompt": ["a (red:1.5) cap"], "negative_prompt": None}
    assert wording_of(pipe, call, markup="plain").call(pipe) == call


def test_the_second_prompt_of_sdxl_is_encoded_and_searched_too():
    pipe = pipeline("sdxl")
    call = {"prompt": "a red cap", "prompt_2": LONG + ", a (cap:1.2)"}
    with pytest.warns(PromptWarning):
        said = wording_of(pipe, call)
    graph = SemanticGraph.from_json({"prompt": "a red cap", "entities": [{"text": "cap", "attributes": ["red"]}]})
    pairs = said.pairs(0, graph, None)
    own = pairs.words["cap"]
    second = said.positive[0].layouts[1]
    caps = [i for i, (a, b) in enumerate(second.spans) if b > a and second.text[a:b] in ("ca", "p")]
    assert set(own) & set(caps) and min(own) < 10 < 2 * WINDOW < max(own) < 3 * WINDOW
    assert pairs.words["red"] == (2,)  # there, too, it is the second token
    found = said.call(pipe)
    assert found["prompt_embeds"].shape == (1, 3 * WINDOW, 64)
    only = wording_of(pipe, {"prompt": "a red cap", "prompt_2": "a red cap"}).call(pipe)
    assert "prompt_embeds" not in only and only["prompt_2"] == "a red cap"


def test_embeddings_come_with_the_words_that_they_embed():
    pipe = pipeline("sd")
    given = embedded(pipe, [LONG], [""])
    plain = pipe(generator=seeded(), **given, **CALL).images
    assert torch.equal(run(WORDLESS, pipe, LONG, **given).images, plain)
    aligner = DyMO(tiny.brightness, recurrences=0)
    one = run(aligner, pipe, LONG, graph=GRAPH, **given)
    assert one.trace.truncated == [[]] and one.trace.texts == [LONG] and not torch.equal(one.images, plain)
    assert torch.equal(run(aligner, pipe, None, graph=GRAPH, **given).images, one.images)
    alone = DyMO(tiny.brightness, semantic_weight=0, recurrences=0)
    with pytest.warns(PromptWarning, match="brightness is given '' for the prompt"):
        alone(pipe, generator=seeded(), **given, **CALL)
    with pytest.raises(PromptError, match="give prompt= with the words that they embed, or graph="):
        run(aligner, pipe, None, **given)
    with pytest.raises(PromptError, match="prompt_embeds has 231 tokens, and .* has 385, in windows of 77"):
        run(aligner, pipe, LONG + LONG, graph={**{"prompt": LONG + LONG}, "entities": [{"text": "apple"}]}, **given)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ({"prompt": "a (red:1.3) cap", "prompt_embeds": torch.zeros(1, 77, 32)}, r"'\(red:1.3\)'.*prompt_embeds are used as they are"),
        ({"prompt": "a cap", "negative_prompt": "(red)1.2", "prompt_embeds": torch.zeros(1, 77, 32)}, r"'\(red\)1.2'.*would be lost"),
        ({"prompt": "[cat:dog:0.5]"}, "changes its words during the run"),
        ({"prompt": "a cap", "negative_prompt": "<lora:x:1>"}, "--lora FILE"),
        ({"prompt": "(a cap)", "negative_prompt_embeds": torch.zeros(1, 154, 32)}, "negative_prompt_embeds has 154 tokens, and the prompt 77"),
        ({"prompt": ["a cap", "b"], "prompt_embeds": torch.zeros(1, 77, 32)}, "2 prompts beside prompt_embeds of 1 rows"),
        ({"prompt": ["a (cap)", 3]}, "3 is no text"), ({}, "no prompt"),
        ({"prompt": "a cap", "negative_prompt": 3}, "negative_prompt=3: 3 is no text"),
        ({"prompt": "a cap", "prompt_embeds": [[0.5]]}, r"prompt_embeds=\[\[0.5\]\]: give the tensor"),
    ],
)  # fmt: skip
def test_what_cannot_reach_the_pipeline_is_refused_by_name(call, says):
    with pytest.raises(PromptError, match=says):
        wording_of(pipeline("sd"), call)


def test_a_pipeline_of_texts_alone_refuses_weights_and_takes_brackets_for_text():
    pipe = zoo.FLOW["sd3"].make()
    with pytest.raises(PromptError, match=r"'\(red:1.3\)' in .*StableDiffusion3Pipeline takes texts alone"):
        Plain().run(pipe, "a (red:1.3) cap")
    said = wording_of(pipe, {"prompt": "a cat (sitting)"})
    assert said.call(pipe) == {"prompt": "a cat (sitting)"} and said.readings[0].text == "a cat (sitting)"


def test_truncation_is_a_choice():
    pipe = pipeline("sd")
    cut = run(DyMO(None, truncation="report", recurrences=0), pipe, LONG, graph=GRAPH)
    assert set(cut.trace.truncated[0]) == {"tall", "blue", "lamp", "small", "cap", "grey"}
    as_diffusers = pipe(LONG, generator=seeded(), **CALL).images
    assert torch.equal(run(DyMO(None, semantic_weight=0, truncation="report"), pipe, LONG).images, as_diffusers)
    with pytest.raises(PromptError, match="'lamp'.* would be cut off.*truncation='chunk' to encode the whole"):
        run(DyMO(None, truncation="error"), pipe, LONG, graph=GRAPH)


def test_attend_and_excite_finds_the_words_of_a_long_prompt():
    seen = []
    method = AttendExcite(parser=lambda prompt: seen.append(prompt) or GRAPH, rounds=1, until=1.0)
    found = run(method.run, pipeline("sd"), LONG)
    assert seen == [LONG] and not torch.equal(found.images, run(WORDLESS, pipeline("sd"), LONG).images)
