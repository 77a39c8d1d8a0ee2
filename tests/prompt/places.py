"""Sentences that say where one thing is from another, in many wordings, with their right reading."""

from __future__ import annotations

from dataclasses import dataclass

# The classes of COCO, which GenEval (arXiv 2310.11513) makes its prompts of: (article and name, head noun).
THINGS = [
    "a person", "a bicycle", "a car", "a motorcycle", "an airplane", "a bus", "a train", "a truck", "a boat",
    "a traffic light", "a fire hydrant", "a stop sign", "a parking meter", "a bench", "a bird", "a cat", "a dog", "a horse",
    "a sheep", "a cow", "an elephant", "a bear", "a zebra", "a giraffe", "a backpack", "an umbrella", "a handbag", "a tie",
    "a suitcase", "a frisbee", "a snowboard", "a sports ball", "a kite", "a baseball bat", "a baseball glove", "a skateboard",
    "a surfboard", "a tennis racket", "a bottle", "a wine glass", "a cup", "a fork", "a knife", "a spoon", "a bowl",
    "a banana", "an apple", "a sandwich", "an orange", "a broccoli", "a carrot", "a hot dog", "a pizza", "a donut", "a cake",
    "a chair", "a couch", "a potted plant", "a bed", "a dining table", "a toilet", "a tv", "a laptop", "a computer mouse",
    "a tv remote", "a computer keyboard", "a cell phone", "a microwave", "an oven", "a toaster", "a sink", "a refrigerator",
    "a book", "a clock", "a vase", "a pair of scissors", "a teddy bear", "a hair drier", "a toothbrush",
]  # fmt: skip
PLACES = [
    "left of", "right of", "above", "below", "to the left of", "to the right of", "on the left of", "on the right side of",
    "on the left side of", "on top of", "under", "underneath", "beneath", "over", "next to", "beside", "behind",
    "in front of", "near", "just above", "directly below", "at the left of", "by the side of", "immediately left of",
    "to the immediate right of",
]  # fmt: skip
FRAMES = [
    "a photo of {} {} {}", "{} {} {}", "there is {} {} {}", "{} is {} {}", "{} sitting {} {}", "an image of {} {} {}",
    "{} located {} {}", "a painting of {} {} {}", "{} that is {} {}", "{} placed {} {}, realistic, 4k",
]  # fmt: skip


@dataclass(frozen=True)
class Sentence:
    """One thing's place beside another: their head nouns and the words of place that must be in the relation."""

    text: str
    subject: str
    place: str
    object: str


def sentences(count: int = 100, step: int = 7) -> list[Sentence]:
    """The first of a fixed sequence that goes through all things, places and frames at different paces."""
    found = []
    for n in range(count):
        subject, object_ = THINGS[(step * n) % len(THINGS)], THINGS[(step * n + 31 + n // len(THINGS)) % len(THINGS)]
        place = PLACES[n % len(PLACES)]
        frame = FRAMES[(n + n // len(FRAMES)) % len(FRAMES)]
        found.append(Sentence(frame.format(subject, place, object_), _head(subject), place, _head(object_)))
    return found


def _head(thing: str) -> str:
    return thing.split()[-1]
