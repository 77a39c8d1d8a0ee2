"""The drawing of a graph: nothing runs off it, nothing overlaps, and it has its own dark colours."""

from __future__ import annotations

from xml.etree import ElementTree

from dymo.prompt import SemanticGraph
from dymo.report.graph_svg import draw

SVG = "{http://www.w3.org/2000/svg}"


def drawing(words: int) -> ElementTree.Element:
    names = [f"thing{n}" for n in range(words)]
    prompt = " on a ".join(f"big old red {name}" for name in names)
    entities = [{"text": name, "attributes": ["big", "old", "red"]} for name in names]
    relations = [{"text": "on a", "subject": n, "object": n + 1} for n in range(words - 1)]
    graph = SemanticGraph.from_json(
        {"prompt": prompt, "entities": entities, "relations": relations, "style": ["big"] * 40}
    )
    return ElementTree.fromstring(draw(graph))


def test_no_word_runs_off_the_page_or_over_another():
    root = drawing(12)
    width, height = (float(root.attrib[name]) for name in ("width", "height"))
    boxes = []
    for rect in root.findall(f"{SVG}rect")[1:]:
        x, y, w, h = (float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
        assert x >= 0 and x + w <= width and y + h <= height
        assert all(x >= a + c or a >= x + w or y >= b + d or b >= y + h for a, b, c, d in boxes)
        boxes.append((x, y, w, h))
    assert len(boxes) == 12 * 4 + 11
    for text in root.findall(f"{SVG}text"):
        assert float(text.attrib["x"]) + 6 * len(text.text) <= width


def test_the_drawing_is_dark_where_its_viewer_is():
    assert "prefers-color-scheme:dark" in ElementTree.tostring(drawing(2), encoding="unicode")
