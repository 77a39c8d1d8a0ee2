from __future__ import annotations

import pytest

from dymo.errors import PromptError, PromptWarning
from dymo.prompt import SemanticGraph

PROMPT = "an oil painting of potatoes and a Red car"


def test_a_graph_in_the_reference_format_is_read():
    data = {
        "prompt": PROMPT,
        "knowledge": [{"potato": []}, {"car": ["red"]}],
        "global": [{"style": ["oil", "painting"]}],
    }
    graph = SemanticGraph.from_json(data)
    assert [(e.text, [a.text for a in e.attributes]) for e in graph.entities] == [("potatoes", []), ("car", ["Red"])]
    assert graph.style == ("oil", "painting")
    assert SemanticGraph.from_json({"prompt": PROMPT, "knowledge": []}).entities == ()


def test_words_that_the_prompt_lacks_are_left_out_and_named():
    with pytest.warns(PromptWarning, match="'zebra', 'blue'"):
        graph = SemanticGraph.from_json(
            {"prompt": PROMPT, "knowledge": [{"zebra": []}, {"car": ["blue"]}], "global": []}
        )
    assert [e.text for e in graph.entities] == ["car"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"knowledge": []}, {"prompt": "a", "knowledge": {}}, {"prompt": "a", "knowledge": ["a"]},
        {"prompt": "a", "knowledge": [{"a": "b"}]}, {"prompt": "a", "knowledge": [{"a": [3]}]},
        {"prompt": "a", "knowledge": [], "global": ["x"]}, {"prompt": "a", "knowledge": [], "more": 1},
    ],
)  # fmt: skip
def test_another_form_is_refused(wrong):
    with pytest.raises(PromptError, match="no graph in the JSON form"):
        SemanticGraph.from_json(wrong)
