"""Ages: "25 year old", "25-year-old", "aged 25" are one word that describes somebody, and no number of people."""

from __future__ import annotations

import re

from dymo.prompt.graph import Span
from dymo.prompt.numerals import is_numeral

_AGE = re.compile(r"\b([\w-]+?)[\s-](?:years?|yrs?|months?|weeks?|days?)[\s-]old\b|\baged (\d+)\b", re.IGNORECASE)


def ages(text: str) -> list[Span]:
    """The places of the ages that a text tells."""
    return [match.span() for match in _AGE.finditer(text) if is_numeral(match[1] or match[2])]
