"""What the trace gets of a device whose numbers arrive in their own time."""

from contextlib import nullcontext

import pytest
import tiny
import torch
from diffusers import LCMScheduler

from dymo import DyMO, Trace
from dymo.errors import PipelineError
from dymo.events import Accepted, Evaluated
from dymo.generation.recorder import Recorder
from dymo.guidance.levels import Level
from dymo.guidance.loop import Seen, Timestep
from dymo.guidance.step import Move
from dymo.guidance.watch import Watch
from dymo.miniature import load_miniature


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


@pytest.mark.parametrize("prompt", [tiny.PROMPT, [tiny.PROMPT] * 3])
def test_of_few_steps_reward_and_watched_are_those_of_the_prediction_that_goes_on(prompt):
    """Of the evaluations of a level the best goes on, each sample's own, and seldom the last."""

    def redness(images, prompts):
        return 5 * images[:, 0].mean((1, 2))

    def blueness(images, prompts):
        return images[:, 2].mean((1, 2))

    told, pipe = [], tiny.sd(scheduler_kind=LCMScheduler)
    generator = torch.Generator().manual_seed(0)
    aligner = DyMO(redness, watch=blueness, updates=4, draws=4, record_maps=True, units="absolute")
    trace = aligner(pipe, prompt, generator=generator, listeners=[told.append], guidance_scale=1.0, **tiny.SMALL).trace
    accepted = [event for event in told if isinstance(event, Accepted)]
    assert len(accepted) == 4
    for event in accepted:
        step, images = event.step, event.preview()
        assert step.reward == pytest.approx(redness(images, None).tolist(), abs=1e-5)
        assert step.losses["preference"] == pytest.approx([-value for value in step.reward], abs=1e-5)
        assert step.watched["blueness"] == pytest.approx(blueness(images, None).tolist(), abs=1e-5)
    assert sum(trace.evaluations) > len(trace.prompts) * 4 * 5  # somewhere it went back


def test_the_best_of_a_level_is_kept_row_by_row_with_nothing_read():
    n, rows = 3, [0, 1, 2]
    trace = Trace(prompts=["a"] * n)
    watched = []
    watch = Watch({"w": lambda images, samples, t: (watched.append(images), images.mean((1, 2, 3)))[1]}, {"w": 1.0})
    recorder = Recorder(trace, [], [{}] * n, False, lambda z0: z0, watch)
    recorder.begin(Timestep(0, 1, 500.0, Level(0.5, 0.75), Level(1.0, 0.0), 0.0), "preference", None)
    recorder.read = pytest.fail
    values = torch.tensor([[1.0, 5.0, 2.0], [3.0, 4.0, float("nan")], [2.0, 6.0, 1.0]])
    least = torch.full((n,), torch.inf)
    for row in values:
        images = row.nan_to_num(9.0).view(n, 1, 1, 1).expand(n, 3, 2, 2) / 10
        seen = Seen(rows, None, images, images, images, None, None, (0, 0), lambda z0: z0, None, {"reward": row})
        loss = -row
        recorder.evaluated(seen, {"preference": torch.ones(n)}, {"preference": loss}, None, loss < least)
        least = torch.where(loss < least, loss, least)
    del recorder.read
    recorder.accepted(torch.zeros(n, 1, 1, 1), torch.zeros(n, 1, 1, 1))
    (step,) = trace.steps
    assert step.reward == [3.0, 6.0, 2.0] and step.losses["preference"] == [-3.0, -6.0, -2.0]
    torch.testing.assert_close(watched[0].mean((1, 2, 3)), torch.tensor([0.3, 0.6, 0.2]))


@pytest.mark.parametrize(
    ("latents", "displacement", "said"),
    [
        (9.0, 9.0, None), (20.0, 1.0, None), (20.0, 9.0, "20 times as long as noise at step 2 .*max_step=0.06"),
        (float("nan"), 0.0, "not finite.*another precision"),
        (float("inf"), 1e9, "not finite at step 2 .t = 250.*moved them 5e\\+08 times as far as noise is long.*max_step=0.06"),
    ],
)  # fmt: skip
def test_latents_that_no_image_can_come_of_end_the_run(latents, displacement, said):
    recorder = Recorder(Trace(prompts=["a"] * 2), [], [{}] * 2, False, lambda z0: z0, None)
    there, z = Level(6.0, 8.0), torch.ones(2, 1, 2, 2)  # noise has ten a entry there
    for index in range(2):
        recorder.begin(Timestep(index, 2, 500.0 - 250.0 * index, Level(0.5, 0.75), there, index / 2), "semantic", None)
        seen = Seen([0, 1], None, z, z, z, None, None, (0, 0), lambda z0: z0, None, {})
        moved = Move(z, torch.tensor([0.0, displacement * index]), torch.ones(2))
        recorder.evaluated(seen, {"semantic": torch.ones(2)}, {"semantic": torch.ones(2)}, moved)
        lost = said is not None and index == 1
        with pytest.raises(PipelineError, match=f"image 2 .*{said}") if lost else nullcontext():
            recorder.accepted(10 * torch.stack([z[0], latents * z[1]]) if index else 10 * z, z)


@pytest.mark.miniature
def test_a_preset_whose_steps_run_away_says_so_in_place_of_a_broken_image():
    aligner = DyMO("mini-pickscore", preset="paper")
    with pytest.raises(PipelineError, match="step 2 .*set max_step=0.06"):
        aligner(load_miniature(), "a red apple and a green car", num_inference_steps=4, generator=torch.Generator().manual_seed(0))
