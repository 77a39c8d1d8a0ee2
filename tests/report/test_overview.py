import io

import numpy as np
from PIL import Image

from dymo.report.overview import beside


def png(size, colour):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def test_the_plot_stands_beside_the_sheet_and_the_words_below_both():
    sheet = Image.new("RGB", (600, 500), "#102030")
    made = beside(sheet, png((700, 900), "#405060"), "what was found, " * 30, "a title")
    pixels = np.asarray(made)
    assert (pixels[:500, :600] == (0x10, 0x20, 0x30)).all()
    plot = (pixels == (0x40, 0x50, 0x60)).all(-1)
    rows, columns = plot.any(1).nonzero()[0], plot.any(0).nonzero()[0]
    assert columns.min() == 600 and rows.max() < 500
    # Not stretched: 7 to 9.
    assert abs((columns.max() - columns.min() + 1) / (rows.max() - rows.min() + 1) - 7 / 9) < 0.01
    assert made.height > 500 + 2 * 24 and (pixels[500:] < 100).any()


def test_a_small_plot_is_not_enlarged():
    made = beside(Image.new("RGB", (600, 500)), png((100, 50), "red"), "words", "a title")
    assert made.width == 600 + 100 + 24
