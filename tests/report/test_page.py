"""The report needs no other file, and says the same in Markdown."""

import re
from html.parser import HTMLParser

from dymo.report.page import Entry, Page, PageImage, Section
from dymo.report.table import Column, Table

IMAGE = PageImage("aligned", b"\x89PNG", "images/a b.png", "score 1", True, small=True)
PAGE = Page(
    "A <title>", "The lead & more.", Table([Column("arm")], [["plain"]]), ["A note."],
    [Entry("a <red> apple", [IMAGE], PageImage("plot", b"\x89PNG", "traces/x.png"))], [("model", "mini<ature>")],
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
    assert "[aligned](<images/a b.png>) ✓" in markdown
    assert "![contact sheet](<sheet.png>)" in markdown and "| plain |" in markdown


def test_cells_of_two_lines_have_their_word_in_colour():
    html = Page("T", "L", Table([Column("a"), Column("b", 1)], [["+1 ▲\n[0, 2]", 1.0], ["-1 ▼", 2.0]])).to_html()
    assert '<span class="good">+1 ▲</span><small>[0, 2]</small>' in html and '<span class="bad">-1 ▼</span>' in html
    assert '<td class="number">1.0</td>' in html


def test_plots_follow_the_dark_mode_and_no_column_is_cut():
    """Look: an SVG brings its own dark colours; a PNG is inverted; the page is as wide as a screen of 1400 pixels."""
    plots = [PageImage("a", b"<svg/>", "report/a.svg"), PageImage("b", b"\x89PNG", "b.png")]
    page = Page("T", "L", Table([Column("a")], []), sections=[Section("S", ["said"], (), plots)])
    html = page.to_html()
    assert '<img class="plot" src="data:image/svg+xml;base64,' in html
    assert '<img class="plot light" src="data:image/png;base64,' in html and "img.plot.light { filter: invert" in html
    assert "max-width: 88rem" in html
    assert "![a](<report/a.svg>)" in page.to_markdown() and "- said" in page.to_markdown()


def test_a_bare_page():
    bare = Page("T", "L", Table([Column("a")], []))
    assert 'gallery"' not in bare.to_html() and bare.to_markdown().startswith("# T\n\nL\n")
