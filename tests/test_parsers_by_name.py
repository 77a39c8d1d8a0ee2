"""DyMO takes a parser by its name, and a parser's key stays out of what a picture leaves behind."""

from __future__ import annotations

import logging

import pytest
import tiny
import torch

from dymo import ConfigError, DyMO
from dymo.prompt.spacy import SpacyParser
from dymo.report.png import png_bytes

KEY = "sk-very-secret-0123456789"


def run(aligner):
    generator = torch.Generator().manual_seed(0)
    settings = {**tiny.SMALL, "num_inference_steps": 2, "output_type": "pil"}
    return aligner(tiny.sd(), tiny.PROMPT, generator=generator, **settings)


def test_names_of_parsers():
    assert isinstance(DyMO(None, parser="spacy").parser, SpacyParser)
    with pytest.raises(ConfigError, match="'gpt4'"):
        DyMO(None, parser="gpt4")


def test_the_key_is_in_no_trace_and_no_picture(tmp_path, monkeypatch, caplog, capfd):
    pytest.importorskip("openai")
    from prompt.endpoint import Endpoint, graph_text

    caplog.set_level(logging.DEBUG)
    answer = graph_text(("apple", ["red"]), ("car", ["green"]), style=(KEY,))
    with Endpoint(lambda exchange: exchange.say(answer)) as server:
        for name, value in (("OPENAI_API_KEY", KEY), ("OPENAI_BASE_URL", server.url), ("DYMO_LLM_MODEL", "m")):
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        output = run(DyMO(None, parser="llm", recurrences=0))
    assert [e["text"] for e in output.trace.graphs[0]["entities"]] == ["apple", "car"]
    picture = png_bytes(output.images[0], None, {"graph": output.trace.graphs[0], "trace": output.trace.to_json()})
    cached = [path.read_text() for path in tmp_path.rglob("*.json")]
    assert len(cached) == 1
    said = [output.trace.to_json(), picture.decode("latin-1"), caplog.text, *capfd.readouterr(), *cached]
    assert not [text for text in said if KEY in text]
