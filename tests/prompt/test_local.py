from __future__ import annotations

import json
import sys

import pytest

pytest.importorskip("llguidance")

from prompt.llamas import make_llama, make_tokenizer

from dymo.errors import ConfigError, PromptError, PromptWarning
from dymo.prompt import load_parser, parse
from dymo.prompt.answer import Answer, messages
from dymo.prompt.local import LocalParser

PROMPT = "a red apple"


@pytest.fixture(scope="module")
def local() -> LocalParser:
    return LocalParser(make_llama(), make_tokenizer(), max_new_tokens=40, cache=False)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_random_weights_write_nothing_but_the_form(seed, local):
    parser = LocalParser(make_llama(seed), make_tokenizer(), max_new_tokens=160, cache=False)
    written = parser.ask(messages(PROMPT))
    assert written.startswith('{"entities":[')
    try:
        Answer.model_validate_json(written)
    except ValueError as error:
        # Cut off, and in no other way wrong.
        assert "EOF" in str(error), written


def test_the_model_decides_within_the_form(local):
    class Spelling:
        """Wants one text, whatever the constraint leaves of it."""

        def __init__(self, model, wanted: list[int]) -> None:
            self.model, self.wanted, self.step = model, wanted, 0

        def __call__(self, *args, **kwargs):
            output = self.model.__class__.forward(self.model, *args, **kwargs)
            if self.step < len(self.wanted):
                output.logits[:, -1, :] = 0
                output.logits[:, -1, self.wanted[self.step]] = 100
            self.step += 1
            return output

    model, tokenizer = make_llama(), make_tokenizer()
    text = json.dumps(
        {"entities": [{"text": "apple", "attributes": ["red"]}], "relations": [], "style": []}, separators=(",", ":")
    )
    model.forward = Spelling(model, [*tokenizer(text)["input_ids"], tokenizer.eos_token_id])
    graph = LocalParser(model, tokenizer, max_new_tokens=200, cache=False)(PROMPT)
    assert [(e.text, [a.text for a in e.attributes]) for e in graph.entities] == [("apple", ["red"])]


def test_an_answer_cut_off_is_an_error_or_a_fallback(local):
    with pytest.raises(PromptError, match="no usable graph of 'a red apple' in 3 answers"):
        local(PROMPT)
    parser = LocalParser(make_llama(), make_tokenizer(), max_new_tokens=20, cache=False, on_failure="fallback")
    with pytest.warns(PromptWarning, match="spaCy"):
        assert parser(PROMPT) == parse(PROMPT)


def test_a_model_is_read_from_a_folder(tmp_path):
    make_llama().save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    parser = load_parser("transformers", model=tmp_path, max_new_tokens=20, cache=tmp_path / "cache")
    assert str(tmp_path) in repr(parser)
    assert parser.ask(messages(PROMPT)).startswith('{"entities":[')


def test_what_cannot_be_used_is_named(tmp_path, monkeypatch):
    with pytest.raises(PromptError, match="cannot be loaded"):
        load_parser("transformers", model=str(tmp_path / "nothing"), cache=False)
    with pytest.raises(ConfigError, match="max_new_tokens=0"):
        LocalParser(make_llama(), make_tokenizer(), max_new_tokens=0)
    with pytest.raises(ConfigError, match="tokenizer="):
        LocalParser(make_llama())
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(ConfigError, match=r"dymo-diffusion\[llm\]"):
        load_parser("transformers", model=str(tmp_path))
