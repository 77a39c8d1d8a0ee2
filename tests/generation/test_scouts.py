"""Several seeds are begun, and the one that the reward puts highest goes on as if it had been the only one."""

from __future__ import annotations

import functools
import threading

import pytest
import tiny
import torch

from dymo import PRESETS, Budget, ConfigError, DyMO, Trace
from dymo.events import Begun
from dymo.generation import scouts
from dymo.pipelines.images import further

SETTINGS = dict(semantic_weight=0, borders=(600, 600), recurrences=0)
SCOUTS = dict(scouts=2, scout_until=600.0)  # of the steps at t = 751, 501, 251 and 1 the first


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def run(prompt=tiny.PROMPT, generator=None, pipe=None, budget=None, call=None, **settings):
    aligner = DyMO(tiny.brightness, **{**SETTINGS, **settings})
    call = tiny.SMALL if call is None else {"num_inference_steps": 4, "output_type": "pt", **call}
    return aligner(pipe or tiny.sd(), prompt, generator=generator or seeded(), budget=budget, **call)


def candidates(seed=0, n=2):
    """The seed's own generator, and those of its scouts."""
    return [seeded(seed), *further(seeded(seed), n)]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_best_beginning_goes_on_as_by_itself(seed):
    found = run(generator=seeded(seed), **SCOUTS)
    (scores,) = found.trace.scouts
    alone = [run(generator=generator) for generator in candidates(seed)]
    best = scores.index(max(scores))
    assert len(set(scores)) == 3 and torch.equal(found.images, alone[best].images)
    assert found.trace.evaluations == [3 + 4] and found.trace.cost.denoiser_rows == 2 * (3 + 4)
    assert [step.reward for step in found.trace.steps] == [step.reward for step in alone[best].trace.steps]


def test_what_is_compared_is_the_prediction_before_the_reward_has_steered():
    previews = []
    for generator in candidates():
        kept = []
        aligner = DyMO(tiny.brightness, **SETTINGS)
        aligner(tiny.sd(), tiny.PROMPT, generator=generator, listeners=[kept.append], **tiny.SMALL)
        first = next(event for event in kept if hasattr(event, "preview"))
        assert first.step.timestep > 600 and first.step.reward == [None]
        previews.append(first.preview().mean().item())
    (scores,) = run(**SCOUTS).trace.scouts
    assert scores == pytest.approx(previews, abs=1e-5)


def test_a_batch_chooses_image_by_image():
    prompts = [tiny.PROMPT, "a green car"]
    both = run(prompts, [seeded(3), seeded(4)], **SCOUTS)
    for i, prompt in enumerate(prompts):
        alone = run(prompt, seeded(3 + i), **SCOUTS)
        assert alone.trace.scouts[0] == pytest.approx(both.trace.scouts[i], abs=1e-4)
        torch.testing.assert_close(both.images[i : i + 1], alone.images, atol=1e-4, rtol=1e-4)


def test_the_pipeline_is_as_before_and_the_generator_has_moved_on():
    pipe, generator = tiny.sd(), seeded()
    before = pipe(tiny.PROMPT, generator=seeded(), **tiny.SMALL).images
    first = run(generator=generator, pipe=pipe, **SCOUTS)
    second = run(generator=generator, pipe=pipe, **SCOUTS)
    assert first.trace.scouts != second.trace.scouts
    assert torch.equal(pipe(tiny.PROMPT, generator=seeded(), **tiny.SMALL).images, before)


def test_the_seeds_steps_are_told_with_their_predictions():
    told = []
    found = DyMO(tiny.brightness, **SETTINGS, **{**SCOUTS, "scout_until": 400})(
        tiny.sd(), tiny.PROMPT, generator=seeded(), listeners=[told.append], **tiny.SMALL
    )
    begun = [event for event in told if isinstance(event, Begun)]
    assert told[: len(begun)] == begun  # before `Started`
    assert [(e.seed, e.seeds, e.step, e.steps, e.done) for e in begun] == [(k, 3, n, 2, 2 * k + n) for k in range(3) for n in (1, 2)]
    assert [e.preview().mean().item() for e in begun[1::2]] == pytest.approx(found.trace.scouts[0], abs=1e-5)


AT_ONCE = dict(preset="fast", scouts=4, scout_until=400.0, borders=(400, 400), recurrences=0)  # the words steer both steps


def begun_with(budget, prompt=tiny.PROMPT, pipe=None, **call):
    """A run, and what is told of the seeds that it begins."""
    told = []
    call |= dict(generator=seeded(), budget=budget, listeners=[told.append])
    found = DyMO(tiny.brightness, **AT_ONCE)(pipe or tiny.sd(), prompt, **call, **tiny.SMALL)
    return found, [event for event in told if isinstance(event, Begun)]


@functools.cache
def in_turns():
    """The seeds' run without a budget, which begins one after the other."""
    return begun_with(None)


def assert_same_choice(found, expected):
    assert found.trace.evaluations == expected.trace.evaluations
    assert found.trace.scouts[0] == pytest.approx(expected.trace.scouts[0], abs=1e-5)
    torch.testing.assert_close(found.images, expected.images, atol=1e-4, rtol=0)


@pytest.mark.parametrize("prompt", [tiny.PROMPT, [tiny.PROMPT]])
def test_seeds_begun_at_once_are_those_begun_in_turns(prompt):
    """What the first keeps says how many of the others the budget's bytes hold."""
    turns, one_by_one = in_turns()
    together, in_two = begun_with(Budget(bytes=1 << 40), prompt=prompt)
    assert_same_choice(together, turns)
    assert [e.seed for e in one_by_one] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert [e.seed for e in in_two] == [0, 0, 1, 2, 3, 4, 1, 2, 3, 4] and [e.done for e in in_two] == list(range(1, 11))
    previews = {e.seed: e.preview().mean().item() for e in in_two if e.step == 2}
    assert [previews[k] for k in range(5)] == pytest.approx(turns.trace.scouts[0], abs=1e-5)


def test_seeds_that_draw_for_an_image_too_are_begun_in_turns():
    """Where an image and a mask are given, a batch draws its noise in another order than one image does."""
    call = dict(image=torch.rand(1, 3, 32, 32), mask_image=torch.ones(1, 1, 32, 32))
    turns, events = begun_with(Budget(bytes=1 << 40), pipe=tiny.sd_inpaint(), **call)
    assert [e.seed for e in events] == sorted(e.seed for e in events) and {e.seed for e in events} == set(range(5))
    (expected,) = begun_with(None, pipe=tiny.sd_inpaint(), **call)[0].trace.scouts
    assert turns.trace.scouts[0] == pytest.approx(expected, abs=1e-5)


def test_as_many_seeds_at_once_as_the_bytes_hold(monkeypatch):
    sizes = []
    plain = scouts._fitting
    monkeypatch.setattr(scouts, "_fitting", lambda allotment, room: sizes.append(max(allotment.kept.values())) or plain(allotment, room))
    begun_with(Budget(bytes=1 << 40))
    _, events = begun_with(Budget(bytes=int(2.5 * sizes[0])))
    assert [e.seed for e in events] == [0, 0, 1, 2, 1, 2, 3, 4, 3, 4]


def test_seeds_that_do_not_fit_together_are_begun_in_turns():
    def forward(_module, inputs):
        if len(inputs[0]) > 2:
            raise torch.OutOfMemoryError("out of memory")

    pipe = tiny.sd()
    pipe.unet.conv_in.register_forward_pre_hook(forward)
    found, events = begun_with(Budget(bytes=1 << 40), pipe=pipe)
    assert_same_choice(found, in_turns()[0])
    assert [e.seed for e in events] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_the_room_on_a_device(monkeypatch):
    """Of 10 GB 6 are free or cached; a seed keeps 1 GB, and is given twice as much."""
    allocated = iter([3, 3.5, 4, 3.2, 3.2])
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: next(allocated) * 1e9)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 4.2e9)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (5e9, 10e9))
    room = scouts.Room(torch.device("cuda"))
    for _ in range(3):
        room.look()
    assert room.kept == 1e9 and room.seeds() == 3


def test_a_run_that_is_cancelled_among_its_seeds_ends_there():
    stop, told = threading.Event(), []

    def listen(event):
        told.append(event)
        if isinstance(event, Begun) and event.seed == 1:
            stop.set()

    found = DyMO(tiny.brightness, **SETTINGS, **{**SCOUTS, "scout_until": 400})(
        tiny.sd(), tiny.PROMPT, generator=seeded(), listeners=[listen], cancel=stop, **tiny.SMALL
    )
    assert found.trace.cancelled and not found.trace.steps and not found.trace.scouts
    assert sum(isinstance(event, Begun) for event in told) == 3


def test_a_seed_without_a_finite_score_is_not_chosen_and_can_be_saved():
    calls = []

    def spotty(images, prompts):
        calls.append(1)
        return tiny.brightness(images, prompts) * (float("nan") if len(calls) == 2 else 1.0)

    trace = DyMO(spotty, **SETTINGS, **SCOUTS)(tiny.sd(), tiny.PROMPT, generator=seeded(), **tiny.SMALL).trace
    assert [score is None for score in trace.scouts[0]] == [False, True, False]
    assert Trace.from_json(trace.to_json()).scouts == trace.scouts


def test_seeds_that_would_be_one_image_are_not_begun():
    with pytest.raises(ConfigError, match="with denoising_start= no noise is added, and DDIMScheduler draws none"):
        run(pipe=tiny.sdxl_img2img(), call={"image": torch.rand(1, 3, 32, 32), "denoising_start": 0.2}, **SCOUTS)


def test_a_budget_pays_for_the_seeds_too():
    free = run(recurrences=3, budget=Budget(evaluations=11), **SCOUTS)
    assert free.trace.evaluations[0] <= 11
    with pytest.raises(ConfigError, match=r"Budget\(evaluations=6\) does not reach for the 4 of the trajectory and the 3 of its seeds"):
        run(budget=Budget(evaluations=6), **SCOUTS)


def test_what_cannot_be_scouted_is_refused():
    pipe = tiny.sd()
    with pytest.raises(ConfigError, match=r"scouts=2: they are compared by the reward"):
        DyMO(None, **SCOUTS)(pipe, tiny.PROMPT, **tiny.SMALL)
    with pytest.raises(ConfigError, match="latents= says where the image begins"):
        DyMO(tiny.brightness, **SETTINGS, **SCOUTS)(pipe, tiny.PROMPT, latents=torch.zeros(1, 4, 16, 16), **tiny.SMALL)
    with pytest.raises(ConfigError, match=r"scout_until=900: the run begins at t = 75"):
        run(pipe=pipe, scouts=1, scout_until=900)
    with pytest.raises(ConfigError, match="a run of few steps improves its noise itself"):
        run(pipe=pipe, few_steps="always", **SCOUTS)
    with pytest.raises(ConfigError, match=r"Budget\(seconds=600\) is kept for the steps of one seed; give evaluations, or scouts=0"):
        run(pipe=pipe, budget=Budget(seconds=600), **SCOUTS)
    with pytest.raises(ConfigError, match="scouts=-1"):
        DyMO(tiny.brightness, scouts=-1)


@pytest.mark.parametrize(
    "reward, settings, call, reason",
    [
        (None, {}, {}, "they are compared by the reward, and there is none"),
        (tiny.brightness, {}, {"latents": torch.zeros(1, 4, 16, 16)}, "latents= says where the image begins"),
        (tiny.brightness, {"few_steps": "always", "updates": 2, "draws": 1}, {}, "a run of few steps improves its noise itself"),
        (tiny.brightness, {"scout_until": 900}, {}, "the run begins at t = 75"),
        (tiny.brightness, {}, {"budget": Budget(evaluations=5)}, "Budget(evaluations=5) does not reach for the 4"),
        (tiny.brightness, {}, {"budget": Budget(seconds=600)}, "Budget(seconds=600) is kept for the steps of one seed"),
    ],
)
def test_a_preset_whose_seeds_cannot_be_begun_goes_on_with_one_and_says_why(reward, settings, call, reason):
    """It gives what the same settings with scouts=0 give; asked for by the user, they are refused (above)."""
    settings = {"preset": "fast", "recurrences": 0, **settings}
    found, one = (
        DyMO(reward, **settings, **more)(tiny.sd(), tiny.PROMPT, generator=seeded(), **call, **tiny.SMALL)
        for more in ({}, {"scouts": 0})
    )
    assert PRESETS["fast"].scouts and not found.trace.scouts and reason in found.trace.one_seed
    assert one.trace.one_seed is None and torch.equal(found.images, one.images)
