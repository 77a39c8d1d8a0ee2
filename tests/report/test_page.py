"""The report needs no other file, and says the same in Markdown."""

import re
from html.parser import HTMLParser

from dymo.report.page import Entry, Page, Picture
from dymo.report.table import Column, Table

PICTURE = Picture("aligned", b"\x89PNG", "pictures/a b.png", "score 1", True, small=True)
PAGE = Page(
    "A <title>", "The lead & more.", Table([Column("arm")], [["plain"]]), ["A note."],
    [Entry("a <red> apple", [PICTURE], Picture("plot", b"\x89PNG", "traces/x.png"))], [("model", "mini<ature>")],
    sheet="sheet.png",
)  # fmt: skip


def test_html_is_self_contained_and_escaped():
    html = PAGE.to_html()
    assert set(re.findall(r'(?:src|href)="([^"]{0,22})', html)) == {"data:image/png;base64,"}
    assert "<script" not in html and "a &lt;red&gt; apple" in html and "mini&lt;ature&gt;" in html
    assert "prefers-color-scheme: dark" in html


def test_html_closes_what_it_opens():
    void, open_tags = {"meta", "img", "br"}, []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in void:
                open_tags.append(tag)

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Reader().feed(PAGE.to_html())
    assert open_tags == []


def test_markdown_links_the_files():
    markdown = PAGE.to_markdown()
    assert "[aligned](<pictures/a b.png>) ✓" in markdown
    assert "![contact sheet](<sheet.png>)" in markdown and "| plain |" in markdown


def test_a_bare_page():
    bare = Page("T", "L", Table([Column("a")], []))
    assert 'gallery"' not in bare.to_html() and bare.to_markdown().startswith("# T\n\nL\n")
