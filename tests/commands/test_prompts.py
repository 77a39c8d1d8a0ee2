"""Prompts in the command line: the same reading for `dymo graph` and `dymo generate`."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from dymo import SemanticGraph
from dymo.cli import app
from dymo.commands.job import check
from dymo.commands.schema import Generate
from dymo.errors import PromptError

WEIGHTED = "a (red:1.3) apple and a [green] car"


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200", "NO_COLOR": "1"})


def test_graph_says_the_weights_and_the_tokens_without_their_marks():
    result = invoke("graph", WEIGHTED, "--tokenizer", "miniature")
    assert result.exit_code == 0, result.output
    assert "weights: red 1.3, green 0.9091" in result.output
    for part in ("apple  12–17  tokens 3", "red  3–6  tokens 2", "car  32–35  tokens 7"):
        assert part in result.output


def test_graph_finds_the_words_of_a_long_prompt_in_their_windows():
    prompt = "a red apple and a green car " * 4 + "and a blue ball"
    result = invoke("graph", prompt, "--tokenizer", "miniature", "--json")
    tokens = json.loads(result.stdout)["tokens"]
    ball = min(tokens["words"]["ball"])
    assert tokens["truncated"] == [] and ball > 24
    assert tokens["words"]["apple"] == [3]


def test_a_graph_of_the_prompt_or_of_its_text_is_taken(tmp_path):
    file = tmp_path / "graph.json"
    for prompt in (WEIGHTED, "a red apple and a green car"):
        file.write_text(json.dumps({"prompt": prompt, "entities": [{"text": "apple", "attributes": ["red"]}]}))
        job = check(Generate(prompts=[WEIGHTED], graph=file, outdir=tmp_path / "out"))
        assert isinstance(job.graph, SemanticGraph)
    file.write_text(json.dumps({"prompt": "a blue ball", "entities": []}))
    with pytest.raises(PromptError, match="is for the prompt 'a blue ball'"):
        check(Generate(prompts=[WEIGHTED], graph=file, outdir=tmp_path / "out"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["a [red:green:0.5] apple"], "changes its words during the run"),
        (["a red apple", "--negative-prompt", "<lora:x:0.8>"], "--lora FILE:0.8"),
        (["a (red:1.3 apple"], "is not closed"), (["a red apple (12:30)"], "30 times, 10 at most"),
    ],
)  # fmt: skip
def test_what_cannot_be_carried_out_is_refused_before_anything_is_loaded(words, says, tmp_path):
    result = invoke("generate", *words, "--outdir", tmp_path / "out")
    assert result.exit_code == 2 and says in result.output.replace("\n", " ")
    assert not (tmp_path / "out").exists()
    plain = ["--set", "markup=plain"]
    if "lora" not in says and "30 times" not in says:
        assert says not in invoke("generate", *words, *plain, "--steps", "0", "--outdir", tmp_path / "out").output
