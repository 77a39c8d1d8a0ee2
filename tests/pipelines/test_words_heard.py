"""The words' places are those of their tokens in what the text encoders are given."""

from __future__ import annotations

import flows
import pytest
import tiny
import torch
import zoo

from dymo import DyMO, PipelineError, SemanticGraph
from dymo.methods.attend_excite import AttendExcite
from dymo.pipelines.families import arguments, family_of
from dymo.prompt.encoders import joint_pairs
from dymo.prompt.tokens import token_pairs

CASES = {**flows.FAMILIES, "kolors": zoo.CASES["kolors"]}
PROMPTS = [tiny.PROMPT, "a big green car beside a red apple"]


class Reached(Exception):
    """The pipeline has read its prompts, and gives the denoiser these arguments by name."""


def graph_of(prompt: str, *things: str) -> SemanticGraph:
    colours = {"apple": "red", "car": "green"}
    return SemanticGraph.from_json({"prompt": prompt, "entities": [{"text": t, "attributes": [colours[t]]} for t in things or colours]})


def heard(pipe, kwargs):
    """What each text encoder is given, (rows, length) of each call, by the encoder's name."""
    given: dict[str, list[torch.Tensor]] = {}
    handles = []
    for name in [n for n in pipe.components if n.startswith("text_encoder")]:
        handles.append(
            getattr(pipe, name).register_forward_pre_hook(
                lambda m, a, k, name=name: given.setdefault(name, []).append(k["input_ids"] if "input_ids" in k else a[0]), with_kwargs=True
            )
        )

    def stop(module, args, given):
        raise Reached(given)

    handles.append(family_of(pipe).denoiser(pipe).register_forward_pre_hook(stop, with_kwargs=True))
    try:
        with pytest.raises(Reached) as reached:
            pipe(**kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return given, reached.value.args[0]


def plain(text: str) -> str:
    return text.replace(" ", "")


@pytest.mark.parametrize("name", CASES)
def test_the_ids_at_a_word_s_places_say_the_word(name):
    """In a batch whose prompts differ in length."""
    case = CASES[name]
    pipe = case.make()
    negative = {"negative_prompt": ["a dog"] * 2} if "negative_prompt" in case.kwargs else {}
    # A copy: Z-Image writes its chat into the list.
    kwargs = {**case.kwargs, "prompt": [*PROMPTS], "generator": torch.Generator().manual_seed(0), **negative}
    given, _ = heard(pipe, kwargs)
    encoders = family_of(pipe).encoders(pipe, arguments(pipe, kwargs))
    assert encoders
    for prompt in PROMPTS:
        words = joint_pairs(graph_of(prompt), encoders).words
        assert set(words) == {"red", "apple", "green", "car"}
        for number, encoder in enumerate(encoders):
            own = next(n for n in pipe.components if n.startswith("tokenizer") and getattr(pipe, n) is encoder.tokenizer)
            rows = [row.tolist() for call in given[own.replace("tokenizer", "text_encoder")] for row in call]
            (ids,) = (row for row in rows if plain(prompt) in plain(encoder.tokenizer.decode(row)))
            for word, places in words.items():
                at = [ids[i - encoder.start + encoder.dropped] for i in places[number]]
                assert plain(encoder.tokenizer.decode(at)) == word


def test_what_is_filled_up_in_front_is_longer_than_the_prompt_and_cut_off_at_its_end():
    pipe = zoo.CASES["kolors"].make()
    (encoder,) = family_of(pipe).encoders(pipe, {})
    assert (encoder.window, encoder.filled) == (256, 256)
    for length, first in ((300, 2), (20, 256 - 23)):  # after two tokens of its own: red, apple, a space's mark and the letters
        far = f"red apple {'x' * length}"
        ids = pipe.tokenizer(far, padding="max_length", max_length=256, truncation=True).input_ids
        words = joint_pairs(graph_of(far, "apple"), [encoder]).words
        for word, (places,) in words.items():
            assert plain(pipe.tokenizer.decode([ids[i] for i in places])) == word
        assert words["red"] == ((first,),)
    behind = f"{'x' * 300} red apple"
    assert joint_pairs(graph_of(behind, "apple"), [encoder]).truncated == ("red", "apple")
    # Embeddings that were made elsewhere have the length that they have.
    (short,) = family_of(pipe).encoders(pipe, {"prompt_embeds": torch.zeros(1, 40, 16)})
    given, made = (joint_pairs(graph_of(tiny.PROMPT), [one]).words["car"][0] for one in (short, encoder))
    assert made == (255,) and given == (39,)


@pytest.mark.parametrize("side", ["left", "right"])
def test_cogview4_fills_up_to_the_longest_prompt_of_the_call_and_then_in_front_to_a_multiple_of_16(side):
    pipe = CASES["cogview4"].make()
    pipe.tokenizer = flows.chat_tokenizer.__wrapped__(front=True)
    pipe.tokenizer.padding_side = side
    far = f"{'so ' * 12}a red apple and a green car"
    for most, length in ((1024, 64), (45, 48)):
        kwargs = dict(prompt=[tiny.PROMPT, far], max_sequence_length=most, num_inference_steps=1, **flows.SQUARE)
        ids, _ = heard(pipe, kwargs)[0]["text_encoder"]
        (encoder,) = family_of(pipe).encoders(pipe, arguments(pipe, kwargs))
        assert ids.shape == (2, length)
        for row, prompt in zip(ids.tolist(), kwargs["prompt"], strict=True):
            found = joint_pairs(graph_of(prompt), [encoder])
            for word, (places,) in found.words.items():
                assert plain(encoder.tokenizer.decode([row[i] for i in places])) == word
            assert found.truncated == (("green", "car") if most == 45 and prompt == far else ())
    (encoder,) = family_of(pipe).encoders(pipe, {"prompt": tiny.PROMPT, "prompt_embeds": torch.zeros(1, 80, 16)})
    assert joint_pairs(graph_of(tiny.PROMPT), [encoder]).words["car"] == ((79,),)


def test_hunyuan_dit_s_second_reader_begins_where_its_first_ends():
    pipe, kwargs = CASES["hunyuan-dit"].make(), CASES["hunyuan-dit"].kwargs
    _, given = heard(pipe, {**kwargs, "prompt": tiny.PROMPT})
    lengths = [given[name].shape[1] for name in ("encoder_hidden_states", "encoder_hidden_states_t5")]
    encoders = family_of(pipe).encoders(pipe, kwargs)
    assert [(encoder.start, encoder.window) for encoder in encoders] == [(0, lengths[0]), (lengths[0], lengths[1])]
    pipe.tokenizer = None  # a pipeline that is given embeddings
    assert family_of(pipe).encoders(pipe, kwargs) == encoders[1:]


def test_the_tokens_that_are_put_before_a_text_are_not_taken_for_its_letters():
    """ChatGLM's "sop" stands before each prompt, and is no special token to its tokenizer."""
    tokenizer = zoo.TinyGLMTokenizer()
    assert tokenizer.all_special_ids == [] and tokenizer.decode(tokenizer("").input_ids) == "[gMASK]sop"
    prompt = "a sop and a car"
    graph = SemanticGraph.from_json({"prompt": prompt, "entities": [{"text": "sop"}, {"text": "car"}]})
    ids = tokenizer(prompt).input_ids
    for word, places in token_pairs(graph, tokenizer).words.items():
        assert plain(tokenizer.decode([ids[i] for i in places])) == word


def test_a_method_that_knows_one_tokenizer_refuses_kolors():
    with pytest.raises(PipelineError, match="filled up in front"):
        AttendExcite(parser=graph_of).run(zoo.CASES["kolors"].make(), tiny.PROMPT, **zoo.CASES["kolors"].kwargs)
    pipe = zoo.CASES["kolors"].make()
    pipe.tokenizer = None
    with pytest.raises(PipelineError, match="no tokenizer"):
        embeds = {n: torch.zeros(1, *s) for n, s in (("prompt_embeds", (40, 16)), ("pooled_prompt_embeds", (16,)))}
        DyMO(None)(pipe, **embeds, graph=graph_of(tiny.PROMPT), **zoo.CASES["kolors"].kwargs)
