"""Token pairs of prompts from the parser, for the tokenizers of CLIP, of T5 and of the miniature."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prompt.conftest import make_tokenizer
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from dymo.miniature import WEIGHTS
from dymo.prompt import Attribute, Entity, SemanticGraph, token_pairs

ADJECTIVES = ("red", "old", "fluffy", "grün", "tiny", "Golden")
NOUNS = ("apple", "CAR", "caterpillar", "hats", "café", "t-shirt", "Würfel")
GAPS = (" ", "  ", " and a ", ", ", " (", ") ", " on top of the ", "\n", ": ")


def t5() -> PreTrainedTokenizerFast:
    """Unigram with metaspace, as T5's: pieces of words, and letters for the rest."""
    pieces = [
        "▁red",
        "▁old",
        "▁fl",
        "uff",
        "▁apple",
        "▁c",
        "ar",
        "▁cat",
        "er",
        "pill",
        "▁hat",
        "s",
        "shirt",
        "▁and",
        "▁a",
        "▁",
    ]
    letters = sorted(
        {letter for text in (*ADJECTIVES, *NOUNS, *GAPS, "thefop") for letter in text if not letter.isspace()}
    )
    scored = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((p, -2.0) for p in pieces)]
    scored += [(letter, -8.0) for letter in letters if letter not in pieces]
    tokenizer = Tokenizer(Unigram(scored, unk_id=2))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("\n", " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=96
    )


TOKENIZERS = {
    "clip": lambda: make_tokenizer(window=160),
    "t5": t5,
    "miniature": lambda: AutoTokenizer.from_pretrained(WEIGHTS / "pipeline" / "tokenizer"),
}


@pytest.fixture(scope="module", params=TOKENIZERS)
def named(request):
    return request.param, TOKENIZERS[request.param]()


@st.composite
def graphs(draw) -> SemanticGraph:
    """Things with up to two attributes before them, joined by words, brackets and white space."""
    prompt, entities = draw(st.sampled_from(["", "a ", "  ", "photo of "])), []
    for _ in range(draw(st.integers(1, 4))):
        attributes = []
        for text in draw(st.lists(st.sampled_from(ADJECTIVES), max_size=2)):
            attributes.append(Attribute(text, (len(prompt), len(prompt) + len(text))))
            prompt += text + draw(st.sampled_from([" ", "  ", ", "]))
        noun = draw(st.sampled_from(NOUNS))
        entities.append(Entity(noun, (len(prompt), len(prompt) + len(noun)), tuple(attributes)))
        prompt += noun + draw(st.sampled_from(GAPS))
    return SemanticGraph(prompt, tuple(entities))


@given(graph=graphs())
@settings(max_examples=80)
def test_every_pair_points_at_pieces_that_decode_to_its_words(named, graph):
    name, tokenizer = named
    pairs = token_pairs(graph, tokenizer)
    ids = tokenizer(graph.prompt, padding="max_length", truncation=True, max_length=tokenizer.model_max_length)[
        "input_ids"
    ]

    def text(indices) -> str:
        return tokenizer.decode([ids[i] for i in indices]).replace(" ", "").lower()

    whole = [e for e in graph.entities if e.text not in pairs.truncated]
    expected = [(e.text, a.text) for e in graph.entities for a in e.attributes]
    if not pairs.truncated:
        found = [(text(entity), text(attribute)) for entity, attribute in pairs.positive]
        assert found == [(e.lower(), a.lower()) for e, a in expected]
        assert len(pairs.negative) == len(whole) * (len(whole) - 1) // 2
        assert [text(i) for i in dict.fromkeys(i for pair in pairs.negative for i in pair)] == [
            e.text.lower() for e in graph.entities if len(graph.entities) > 1
        ]
    else:
        assert name == "miniature", pairs.truncated
        known = {e.lower() for e, _ in expected} | {a.lower() for _, a in expected}
        assert all(text(i) in known for pair in pairs.positive for i in pair)
    assert all(not set(a) & set(b) for a, b in pairs.positive)
