"""The contact sheet shows every image, crisp where it is small."""

import numpy as np
import pytest
from PIL import Image

from dymo.report.sheet import Row, contact_sheet


def solid(colour, size=(64, 64)):
    return Image.new("RGB", size, colour)


def area(sheet, colour):
    return int((np.asarray(sheet) == np.array(colour)).all(-1).sum())


def test_small_images_grow_by_a_whole_factor():
    red, blue = (200, 10, 10), (10, 10, 200)
    sheet = contact_sheet(["unguided", "aligned"], [Row("a cat", [solid(red), solid(blue)])])
    assert area(sheet, red) == area(sheet, blue) == 192 * 192


def test_edges_stay_hard():
    chequered = Image.fromarray((np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)).convert("RGB")
    sheet = np.asarray(contact_sheet(["x"], [Row("", [chequered])]))
    assert set(np.unique(sheet[60:120, -100:-50])) == {0, 255}


def test_large_and_oblong_images_fit():
    green = (10, 150, 10)
    sheet = contact_sheet(["x"], [Row("wide", [solid(green, (1024, 512))])])
    assert area(sheet, green) == pytest.approx(384 * 192, rel=0.02)


def test_panels_stand_side_by_side():
    rows = [Row(f"prompt {i}", [solid((5 * i, 100, 100))]) for i in range(5)]
    one, two = contact_sheet(["x"], rows), contact_sheet(["x"], rows, panels=2)
    assert two.width > one.width and two.height < one.height
    assert all(area(two, (5 * i, 100, 100)) == 192 * 192 for i in range(5))


@pytest.mark.parametrize("caption", ["", "a " * 400, "x" * 500, "苹果 und Äpfel"])
def test_captions_of_all_kinds_leave_the_images_alone(caption):
    red = (200, 10, 10)
    sheet = contact_sheet(["x"], [Row(caption, [solid(red)], note="seed 1")])
    assert area(sheet, red) == 192 * 192


def test_long_prompts_are_not_cut():
    """Look: every word of a caption and of a column's name takes its place."""
    image = solid((200, 10, 10))
    heights = [contact_sheet(["x"], [Row("word " * n, [image])]).height for n in (10, 200, 400)]
    assert heights[0] < heights[1] < heights[2]
    wide = [contact_sheet(["column " * n], [Row("a", [image])]).height for n in (1, 30)]
    assert wide[0] < wide[1]


def test_verdicts_are_drawn():
    white = solid((255, 255, 255))
    plain = contact_sheet(["x"], [Row("a", [white])])
    good = contact_sheet(["x"], [Row("a", [white], correct=[True])])
    bad = contact_sheet(["x"], [Row("a", [white], correct=[False])])
    assert good.tobytes() != plain.tobytes() != bad.tobytes() != good.tobytes()


def test_unusable_rows():
    with pytest.raises(ValueError, match="at least one row"):
        contact_sheet(["x"], [])
    with pytest.raises(ValueError, match="1 images for 'a', but 2 columns"):
        contact_sheet(["x", "y"], [Row("a", [solid((0, 0, 0))])])
