"""The words' places are those of their tokens, in what the text encoders are given and in what the denoiser is."""

from __future__ import annotations

import copy
import functools
from contextlib import ExitStack

import flows
import pytest
import readers
import tiny
import torch
import zoo

from dymo import DyMO, PipelineError, SemanticGraph
from dymo.methods.attend_excite import AttendExcite
from dymo.pipelines.families import arguments, family_of
from dymo.prompt.encoders import joint_pairs
from dymo.prompt.tokens import token_pairs

CASES = {**flows.FAMILIES, "kolors": zoo.CASES["kolors"]}
ALL = {**CASES, **flows.FORMS}
# LongCat-Image reads by pieces of its own, Qwen-Image 2.1 by a processor: what their denoisers are given is looked at below.
HEARD = [name for name in CASES if not name.startswith(("longcat-image", "qwen-image-2.1"))]
PROMPTS = [tiny.PROMPT, "a big green car beside a red apple"]


@functools.cache
def made(name: str):
    return ALL[name].make()


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
        reader = getattr(pipe, name)
        if isinstance(pipe, flows.Ideogram4Pipeline):  # it runs its encoder part by part
            reader = reader.get_input_embeddings()
        handles.append(
            reader.register_forward_pre_hook(
                lambda m, a, k, name=name: given.setdefault(name, []).append(k["input_ids"] if "input_ids" in k else a[0]), with_kwargs=True
            )
        )

    def stop(module, args, kwargs):
        if "input_ids" in kwargs:  # OmniGen's denoiser reads by itself
            given["text_encoder"] = [kwargs["input_ids"]]
        raise Reached(kwargs)

    handles.append(family_of(pipe).denoiser(pipe).register_forward_pre_hook(stop, with_kwargs=True))
    try:
        with pytest.raises(Reached) as reached:
            pipe(**kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return given, reached.value.args[0]


def letters(text: str) -> str:
    return text.replace(" ", "")


def check_places(case: zoo.Case, pipe) -> None:
    """The ids at a word's places say the word, in a batch whose prompts differ in length."""
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
            named = (n for n in pipe.components if n.startswith("tokenizer") and getattr(pipe, n) is encoder.tokenizer)
            own = next(named, "tokenizer")  # or a processor's
            rows = [row.tolist() for call in given[own.replace("tokenizer", "text_encoder")] for row in call]
            (ids,) = (row for row in rows if letters(prompt) in letters(encoder.tokenizer.decode(row)))
            for word, places in words.items():
                at = [ids[i - encoder.start + encoder.dropped] for i in places[number]]
                assert letters(encoder.tokenizer.decode(at)) == word


@pytest.mark.parametrize("name", HEARD)
def test_the_ids_at_a_word_s_places_say_the_word(name):
    check_places(CASES[name], made(name))


@pytest.mark.parametrize("name", ["fibo", "fibo2", "lumina-next", "nucleus-image"])
def test_they_do_where_the_tokenizer_fills_up_in_front(name):
    pipe = CASES[name].make()
    reader = getattr(pipe, "processor", pipe)
    reader.tokenizer = copy.deepcopy(reader.tokenizer)
    reader.tokenizer.padding_side = "left"
    check_places(CASES[name], pipe)


def test_prx_reads_small_letters_and_refuses_what_it_would_rewrite():
    pipe, call = made("prx"), {"prompt": " A red APPLE and a green car"}
    encoders = family_of(pipe).encoders
    graph = SemanticGraph.from_json({"prompt": call["prompt"], "entities": [{"text": "APPLE"}, {"text": "car"}]})
    (encoder,) = encoders(pipe, call)
    ids = pipe.tokenizer(pipe.text_preprocessor.clean_text(call["prompt"])).input_ids
    for word, (places,) in joint_pairs(graph, [encoder]).words.items():
        assert letters(pipe.tokenizer.decode([ids[i] for i in places])) == word.lower()
    with pytest.raises(PipelineError, match=r"makes 'a car' of the prompt.*set skip_text_cleaning=True, or"):
        encoders(pipe, {"prompt": "a (car)"})
    (encoder,) = encoders(pipe, {"prompt": "a (car)", "skip_text_cleaning": True})
    assert not encoder.lower
    with pytest.raises(PipelineError, match=r"makes 'a & b' of the prompt.*write the prompt so, or set semantic_weight=0"):
        encoders(pipe, {"prompt": "a &amp; b", "skip_text_cleaning": True})


def test_fibo_2_refuses_prompts_that_it_writes_anew():
    pipe = made("fibo2")
    encoders = family_of(pipe).encoders
    for prompt in (tiny.PROMPT, '{"scene":"a red apple"}', "[1]"):
        assert len(encoders(pipe, {"prompt": prompt, "render_text_images": True})) == 1
    drawn = '{"text_render":[{"text":"hi"}]}'
    assert len(encoders(pipe, {"prompt": drawn, "render_text_images": False})) == 1
    for given, said in (
        ({"prompt": '{"scene": "a red apple", "mood": null}'}, r"""makes '{"scene":"a red apple"}' of the prompt.*write the prompt so"""),
        ({"prompt": drawn, "render_text_images": True}, "text_render are drawn.*render_text_images=False"),
        ({"prompt": tiny.PROMPT, "image": [1]}, "written into an edit's JSON.*semantic_weight=0"),
    ):
        with pytest.raises(PipelineError, match=said):
            encoders(pipe, given)


def test_what_is_filled_up_in_front_is_longer_than_the_prompt_and_cut_off_at_its_end():
    pipe = zoo.CASES["kolors"].make()
    (encoder,) = family_of(pipe).encoders(pipe, {})
    assert (encoder.window, encoder.filled) == (256, 256)
    for length, first in ((300, 2), (20, 256 - 23)):  # after two tokens of its own: red, apple, a space's mark and the letters
        far = f"red apple {'x' * length}"
        ids = pipe.tokenizer(far, padding="max_length", max_length=256, truncation=True).input_ids
        words = joint_pairs(graph_of(far, "apple"), [encoder]).words
        for word, (places,) in words.items():
            assert letters(pipe.tokenizer.decode([ids[i] for i in places])) == word
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
    pipe.tokenizer = readers.chat_tokenizer.__wrapped__(front=True)
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
                assert letters(encoder.tokenizer.decode([row[i] for i in places])) == word
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
        assert letters(tokenizer.decode([ids[i] for i in places])) == word


def test_a_method_that_knows_one_tokenizer_refuses_kolors():
    with pytest.raises(PipelineError, match="filled up in front"):
        AttendExcite(parser=graph_of).run(zoo.CASES["kolors"].make(), tiny.PROMPT, **zoo.CASES["kolors"].kwargs)
    pipe = zoo.CASES["kolors"].make()
    pipe.tokenizer = None
    with pytest.raises(PipelineError, match="no tokenizer"):
        embeds = {n: torch.zeros(1, *s) for n, s in (("prompt_embeds", (40, 16)), ("pooled_prompt_embeds", (16,)))}
        DyMO(None)(pipe, **embeds, graph=graph_of(tiny.PROMPT), **zoo.CASES["kolors"].kwargs)


def tokens_of(pipe, **call) -> list[int]:
    """The token at each place of the conditional prompt as the denoiser is given it: the encoders' states are replaced by their tokens."""

    def put(found, ids):
        if isinstance(found, torch.Tensor):
            if found.shape[:2] == ids.shape and found.ndim == 3:
                found.copy_(ids[..., None].expand_as(found))
        elif isinstance(found, (dict, list, tuple)):
            for one in found.values() if isinstance(found, dict) else found:
                put(one, ids)

    def read(module, args, kwargs, found):
        put(found, kwargs["input_ids"] if "input_ids" in kwargs else args[0])

    def given(module, args, kwargs):
        row = family_of(pipe).branches(pipe, arguments(pipe, call)).conditional
        seen.extend(kwargs.get("encoder_hidden_states", args[2] if len(args) > 2 else None)[row][:, 0].long().tolist())
        raise Reached

    seen: list[int] = []
    encoders = [m for n, m in pipe.components.items() if n.startswith("text_encoder") and m is not None]
    handles = [m.register_forward_hook(read, with_kwargs=True) for m in encoders]
    handles.append(pipe.transformer.register_forward_pre_hook(given, with_kwargs=True))
    try:
        with pytest.raises(Reached):
            pipe(**call)
    finally:
        for handle in handles:
            handle.remove()
    return seen


# Their denoisers are given states of several layers or of one inside, lists, or the places of two encoders apart.
ELSEWHERE = ("hidream", "omnigen", "joyimage", "fibo2", "ideogram4", "ernie-image", "krea2", "cogview4", "hunyuan-dit")


@pytest.mark.parametrize("name", [name for name in flows.FAMILIES if name not in ELSEWHERE])
def test_the_places_of_each_word_hold_its_tokens(name):
    case, pipe = ALL[name], made(name)
    encoders = family_of(pipe).encoders(pipe, case.kwargs)
    words = joint_pairs(graph_of(tiny.PROMPT), encoders).words
    ids = tokens_of(pipe, prompt=case.prompt, **case.kwargs)
    for word in ("red", "apple", "green", "car"):
        said = [e.tokenizer.decode([ids[i] for i in places]) for e, places in zip(encoders, words[word], strict=True)]
        assert [letters(text) for text in said] == [word] * len(encoders)


@pytest.mark.parametrize("name", ["longcat-image", "longcat-image-edit"])
def test_longcat_reads_a_quotation_letter_by_letter_and_behind_a_picture(name):
    """So that a word in quotation marks, which is one piece elsewhere, moves what follows."""
    prompt = "a driver's 'red car' by an apple"
    case, pipe = ALL[name], made(name)
    call, family = {**case.kwargs, "prompt": prompt}, family_of(pipe)
    graph = SemanticGraph.from_json({"prompt": prompt, "entities": [{"text": "driver"}, {"text": "apple"}]})
    words, ids = joint_pairs(graph, family.encoders(pipe, call)).words, tokens_of(pipe, **call)
    found = family.places(pipe, (), {"encoder_hidden_states": torch.zeros(1, len(ids), 1)}, (8, 8))
    assert (found.image, found.text, found.length) == (len(ids), len(ids) - 48, 48) and (found.text > 0) == name.endswith("edit")
    ids = ids[found.text :]
    assert [pipe.tokenizer.decode([ids[i] for i in words[word][0]]).strip() for word in words] == ["driver", "apple"]
    assert len(pipe.tokenizer(prompt[: prompt.index("apple")]).input_ids) < min(words["apple"][0])
    for wrong, said in (
        ({"enable_prompt_rewrite": True}, "set enable_prompt_rewrite=False and"), ({"prompt": "a dog's toy and a cat's toy"}, "at most one"),
    ):  # fmt: skip
        with pytest.raises(PipelineError, match=said):
            family.encoders(pipe, {**call, **wrong})


def test_words_behind_images_lie_at_the_keys_of_their_tokens():
    """Qwen-Image 2.1 puts four tokens of an image in place of each that the text encoder has for it."""
    name = "qwen-image-2.1-images"
    case, pipe, seen = ALL[name], made(name), {}
    keep = lambda part: lambda _module, _args, kwargs: seen.setdefault(part, kwargs) and None  # noqa: E731
    with ExitStack() as stack:
        for part in ("text_encoder", "transformer"):
            stack.callback(getattr(pipe, part).register_forward_pre_hook(keep(part), with_kwargs=True).remove)
        pipe(prompt=case.prompt, **{**case.kwargs, "num_inference_steps": 1, "output_type": "latent"})
    family, given = family_of(pipe), seen["transformer"]
    (encoder,) = family.encoders(pipe, arguments(pipe, case.kwargs))
    ids, images = seen["text_encoder"]["input_ids"][0][encoder.dropped :], given["img_mask"][0]
    keys = ids.repeat_interleave(torch.where(images[: len(ids)], 4, 1))
    assert len(keys) == len(ids) + 3 * 8 and images.sum() == 8 + 4
    places = family.places(pipe, (), given, (4, 4))
    words = joint_pairs(graph_of(tiny.PROMPT), [encoder]).words
    for word in ("red", "apple", "green", "car"):
        at = [places.text + i for i in words[word][0]]
        assert letters(encoder.tokenizer.decode(keys[at])) == word and max(words[word][0]) < places.length
    assert places.text + places.length == len(keys)
