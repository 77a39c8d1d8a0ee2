"""What the trace gets of a device whose numbers arrive in their own time."""

import pytest
import tiny
import torch

from dymo import DyMO
from dymo.events import Accepted, Evaluated
from dymo.recorder import Recorder


class Arrival:
    """A transfer that is over when somebody has waited for it."""

    def __init__(self, sent):
        self.values, sent.values = sent.values, torch.full_like(sent.values, float("nan"))
        self.sent = sent

    def synchronize(self):
        self.sent.values = self.values


@pytest.mark.parametrize("listens", [True, False])
def test_numbers_arrive_while_the_next_step_is_on_its_way(monkeypatch, listens):
    told = []
    settings = dict(semantic_weight=0, borders=(1000, 1000), h=0.0)

    def run(listeners):
        generator = torch.Generator().manual_seed(0)
        return DyMO(tiny.brightness, **settings)(tiny.sd(), tiny.PROMPT, generator=generator, listeners=listeners, **tiny.SMALL)

    expected = run([])
    send = Recorder._send

    def slow(self):
        send(self)
        if self._sent[-1].places:
            self._sent[-1].arrived = Arrival(self._sent[-1])

    monkeypatch.setattr(Recorder, "_send", slow)
    found = run([told.append] if listens else [])
    assert torch.equal(found.images, expected.images) and found.trace.steps == expected.trace.steps
    if listens:
        order = [(type(event), event.step.index if isinstance(event, Accepted) else event.index) for event in told
                 if isinstance(event, (Accepted, Evaluated))]  # fmt: skip
        assert order == [(Evaluated, 0), (Evaluated, 1), (Accepted, 0), (Evaluated, 2), (Accepted, 1), (Evaluated, 3), (Accepted, 2), (Accepted, 3)]
