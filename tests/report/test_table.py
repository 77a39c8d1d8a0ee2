"""Tables as text, Markdown and HTML."""

import pytest

from dymo.report.table import Column, Table

TABLE = Table(
    [Column("arm"), Column("score", 2), Column("seconds", 1, " s")], [["plain", 1.0, 9.25], ["<b>|x", -10.5, None]]
)


def test_text_is_aligned():
    assert TABLE.to_text().splitlines() == [
        "arm     score  seconds",
        "─────  ──────  ───────",
        "plain    1.00    9.2 s",
        "<b>|x  -10.50        –",
    ]


def test_markdown_is_escaped_and_aligned():
    assert TABLE.to_markdown().splitlines() == [
        "| arm    |  score | seconds |",
        "| ------ | -----: | ------: |",
        "| plain  |   1.00 |   9.2 s |",
        "| <b>\\|x | -10.50 |       – |",
    ]


def test_html_is_escaped():
    html = TABLE.to_html()
    assert "<td>&lt;b&gt;|x</td><td class=number>-10.50</td>" in html
    assert html.count("<tr>") == 3


def test_words_in_a_column_of_numbers_stay():
    assert "+0.1 [0, 1]" in Table([Column("gain", 2)], [["+0.1 [0, 1]"]]).to_text()


def test_a_row_of_another_length():
    with pytest.raises(ValueError, match="a row of 1 cells under 2"):
        Table([Column("a"), Column("b")], [["x"]])
