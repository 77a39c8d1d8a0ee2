"""What the page lets an image spend, against what its intents take; and what it calls the settings."""

from pathlib import Path

import pytest

from dymo.config import PRESETS
from dymo.studio import words
from dymo.studio.settings import INTENTS, SHARES


@pytest.mark.parametrize("intent", INTENTS)
@pytest.mark.parametrize("steps", [25, 30, 50])
def test_the_usual_spending_reaches_for_the_seeds_that_an_intent_begins(intent, steps):
    config = PRESETS[INTENTS[intent][0]]
    above = sum(1000 * (1 - i / steps) >= config.scout_until for i in range(steps)) if config.scouts else 0
    assert (1 + config.scouts) * above + steps <= SHARES["usual"] * steps


def test_messages_call_the_settings_what_the_page_calls_them():
    page = (Path(words.__file__).parent / "page" / "index.html").read_text(encoding="utf-8")
    assert [label for label in words.LABELS.values() if f">{label}" not in page and f"{label}<" not in page] == []
