"""`dymo graph`: the tree, JSON, SVG and many prompts."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import pytest
from typer.testing import CliRunner

from dymo import SemanticGraph, parse
from dymo.cli import app

PROMPT = "a red apple on top of a green car, oil painting"


def invoke(*words):
    return CliRunner().invoke(app, ["graph", *map(str, words)], env={"COLUMNS": "200", "NO_COLOR": "1"})


def refused(result, *says):
    assert result.exit_code == 2, result.output
    for part in says:
        assert part in result.output


def test_the_tree_has_relations_and_tokens():
    result = invoke(PROMPT, "--tokenizer", "miniature")
    assert result.exit_code == 0, result.output
    for part in ("on top of → car", "tokens 3", "style: oil, painting", "pairs: 2 together, 1 apart"):
        assert part in result.output


def test_json_with_tokens_is_read_back(tmp_path):
    printed = invoke(PROMPT, "--tokenizer", "miniature", "--json").stdout
    data = json.loads(printed)
    assert [len(pair) for pair in data["tokens"]["positive"]] == [2, 2]
    assert SemanticGraph.from_json(printed) == parse(PROMPT)
    (tmp_path / "graph.json").write_text(printed)
    assert SemanticGraph.from_json(invoke("--graph", tmp_path / "graph.json", "--json").stdout) == parse(PROMPT)


def test_a_file_in_the_reference_format_is_shown(tmp_path):
    file = tmp_path / "reference.json"
    file.write_text(json.dumps({"prompt": PROMPT, "knowledge": [{"apple": ["red"]}, {"zebra": []}], "global": []}))
    result = invoke("--graph", file)
    assert (
        result.exit_code == 0
        and "apple" in result.output
        and "Warning:" in result.output
        and "'zebra'" in result.output
    )


def test_the_drawing_is_xml_and_names_every_word(tmp_path):
    prompt = 'a <b>red</b> "apple" & a cat on a table'
    file = tmp_path / "graph.svg"
    assert invoke(prompt, "--svg", file, "--tokenizer", "miniature").exit_code == 0
    refused(invoke("a cat", "--svg", file), f"--svg {file}: this file is there already", "--overwrite")
    said = " ".join(ElementTree.fromstring(file.read_text()).itertext())
    graph = parse(prompt)
    assert len(graph.entities) >= 2
    for word in (
        prompt,
        "tokens",
        *(w.text for e in graph.entities for w in (e, *e.attributes)),
        *(r.text for r in graph.relations),
    ):
        assert word in said


def test_many_prompts_go_on_where_they_stopped(tmp_path):
    prompts = [f"a red apple and {n} cats" for n in range(2, 8)]
    file, out = tmp_path / "prompts.txt", tmp_path / "graphs.jsonl"
    file.write_text("\n\n".join(prompts) + "\n")
    whole = "".join(parse(p).to_json() + "\n" for p in prompts).encode()
    for kept in (0, 10, whole.index(b"\n") + 1, whole.index(b"\n") + 30, len(whole)):
        out.write_bytes(whole[:kept])
        result = invoke("--file", file, "--out", out)
        assert result.exit_code == 0, result.output
        assert out.read_bytes() == whole
    assert "6 of 6 are there already" in result.output


def test_the_graphs_of_other_prompts_are_not_overwritten(tmp_path):
    file, out = tmp_path / "prompts.txt", tmp_path / "graphs.jsonl"
    file.write_text("a cat\n")
    for content, says in ((parse("a dog").to_json() + "\n", "'a dog'"), ("notes\n", "no graph")):
        out.write_text(content)
        refused(invoke("--file", file, "--out", out), "line 1", says)
        assert out.read_text() == content


def test_the_prompts_own_file_is_never_overwritten(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("a cat\n")
    refused(invoke("--file", file, "--out", file, "--overwrite"), "the file of the prompts")
    assert file.read_text() == "a cat\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "give a PROMPT"), (["a cat", "--graph", "x.json"], "give a PROMPT"), (["--file", "x.txt"], "--out"),
        (["a cat", "--out", "x"], "--file"), (["a cat", "--file", "x.txt", "--out", "y"], "PROMPT is for one prompt"),
        (["a", "cat"], 'in quotes: dymo graph "a cat"'), (["a cat", "a dog"], "2 prompts: give one, or many with --file"),
        (["--file", "missing.txt", "--out", "y"], "missing.txt"), (["a cat", "--parser", "gpt"], "'gpt'"),
        (["a cat", "--parser-model", "m"], "--parser-model"), (["a cat", "--parser", "transformers"], "--parser-model"),
        (["a cat", "--tokenizer", "./nowhere"], "--tokenizer ./nowhere"),
        (["--file", "x.txt", "--out", "y", "--json"], "--json prints one graph; leave it out"),
        (["--graph", "g.json", "--parser", "llm"], "--graph g.json says what the prompt means: leave out --parser"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_line(words, says):
    refused(invoke(*words), says)


def test_another_language_is_a_warning():
    result = invoke("ein Hund und eine Katze mit Hut")
    assert result.exit_code == 0 and "Warning:" in result.output and "German" in result.output
