"""Tables as text, Markdown, LaTeX and CSV."""

import pytest

from dymo.report.table import Column, Table

TABLE = Table(
    [Column("arm"), Column("score", 2), Column("seconds", 1)], [["plain", 1.0, 9.25], ["<b>|x", -10.5, None]]
)


def test_text_is_aligned():
    header, rule, *rows = TABLE.to_text().splitlines()
    assert header.split() == ["arm", "score", "seconds"] and set(rule) == {"─", " "}
    assert rows[0].split() == ["plain", "1.00", "9.2"] and rows[1].split() == ["<b>|x", "-10.50", "–"]
    ends = [header.index("score") + 5, rows[0].index("1.00") + 4, rows[1].index("-10.50") + 6]
    assert len(set(ends)) == 1, "numbers stand under one another"


def test_markdown_is_escaped_and_aligned():
    header, rule, plain, other = (line.split("|") for line in TABLE.to_markdown().splitlines())
    assert [cell.strip() for cell in header[1:-1]] == ["arm", "score", "seconds"]
    assert (
        [cell.strip("-") for cell in rule[1:-1]] == [":", ":", ":"]
        and rule[2].endswith(":")
        and rule[1].startswith(":")
    )
    assert [cell.strip() for cell in plain[1:-1]] == ["plain", "1.00", "9.2"]
    assert "|".join(other[1:3]).strip() == "<b>\\|x"


def test_latex_is_a_booktabs_table_and_csv_has_every_digit():
    latex = Table([Column("arm_1"), Column("score, %", 1)], [["a & b", 1.0]]).to_latex()
    assert latex.startswith("\\begin{tabular}{lr}") and "a \\& b" in latex and "arm\\_1" in latex and "\\%" in latex
    assert Table([Column("a"), Column("b", 1)], [["x, y", 0.123456789], ["z", None]]).to_csv() == (
        'a,b\n"x, y",0.123456789\nz,\n'
    )


def test_a_line_break_is_a_space_in_plain_text():
    broken = Table([Column("a")], [["+1\n[0, 2]"]])
    assert "+1 [0, 2]" in broken.to_text() and "+1 [0, 2]" in broken.to_markdown()


def test_a_table_without_rows():
    empty = Table([Column("a"), Column("b", 1)], [])
    assert empty.to_markdown().splitlines()[0].split() == ["|", "a", "|", "b", "|"] and "a" in empty.to_text()


def test_words_in_a_column_of_numbers_stay():
    assert "+0.1 [0, 1]" in Table([Column("gain", 2)], [["+0.1 [0, 1]"]]).to_text()


def test_a_row_of_another_length():
    with pytest.raises(ValueError, match="a row of 1 cells under 2"):
        Table([Column("a"), Column("b")], [["x"]])
