"""The front door with several rewards, with held-out ones, and with one that cannot guide."""

import warnings

import pytest
import tiny
import torch

from dymo import Budget, ConfigError, DyMO, RewardError, RewardHackingWarning, Trace, load_reward
from dymo.rewards import BlackBoxReward

BRIGHT = dict(semantic_weight=0, borders=(1000, 1000))
PROMPTS = [tiny.PROMPT, tiny.PROMPT]


def darkness(images, prompts):
    """What falls as brightness rises."""
    return -images.mean((1, 2, 3))


def redness(images, prompts):
    return (images[:, 0] - images[:, 1]).mean((1, 2))


def in_units(function, scale):
    """The function as a reward of another declared scale."""
    reward = load_reward(function)
    reward.scale = scale
    return reward


def run(aligner, pipe=None, prompt=tiny.PROMPT, **more):
    return aligner(pipe or tiny.sd(), prompt, generator=torch.Generator().manual_seed(0), **{**tiny.SMALL, **more})


def hacked(action, prompt=tiny.PROMPT, pipe=None, **more):
    """A run that drives brightness hard while darkness is watched; the small units make every change count."""
    settings = dict(max_step=0.5, eta=0.5, damping=0.0, recurrences=0) | more
    aligner = DyMO(
        in_units(tiny.brightness, 1e-4), watch=[in_units(darkness, 1e-4)], on_hacking=action, **BRIGHT, **settings
    )
    with pytest.warns(RewardHackingWarning, match=r"while darkness falls.*reward hacking") as said:
        output = run(aligner, pipe, prompt)
    assert len([w for w in said if w.category is RewardHackingWarning]) == 1
    return output


# Several at once.


def test_a_table_of_one_guides_as_the_reward_itself():
    alone = run(DyMO(tiny.brightness, **BRIGHT, recurrences=0))
    table = run(DyMO({tiny.brightness: 1.0}, **BRIGHT, recurrences=0))
    assert torch.equal(alone.images, table.images)


def test_the_sum_is_differentiated_as_a_sum():
    def both(images, prompts):
        return 2 * tiny.brightness(images, prompts) - redness(images, prompts)

    plain = run(DyMO(both, **BRIGHT, recurrences=0, units="absolute"))
    table = run(DyMO({tiny.brightness: 2.0, redness: -1.0}, **BRIGHT, recurrences=0, units="absolute"))
    torch.testing.assert_close(plain.images, table.images)


def test_a_reward_in_other_points_steers_the_same_where_its_scale_says_so():
    def hundredth(images, prompts):
        return tiny.brightness(images, prompts) / 100

    hundredth.scale = 0.01
    first, second = (run(DyMO(reward, **BRIGHT)) for reward in (tiny.brightness, hundredth))
    torch.testing.assert_close(second.images, first.images)
    assert second.trace.steps[-1].reward[0] == pytest.approx(first.trace.steps[-1].reward[0] / 100, rel=1e-4)
    assert not torch.equal(run(DyMO(hundredth, **BRIGHT, units="absolute")).images, first.images)


@pytest.mark.parametrize("scale", [0, -1.0, float("nan"), float("inf"), True])
def test_a_scale_that_is_no_positive_number_is_refused(scale):
    def scaled(images, prompts):
        return tiny.brightness(images, prompts)

    scaled.scale = scale
    with pytest.raises(RewardError, match="scaled: its scale is .* give the points that images of one prompt differ by"):
        run(DyMO(scaled))


def test_a_reward_whose_scores_hardly_change_is_told_that_it_moves_nothing():
    """One of one's own on a scale of 0 to 1: its gradient is far below `damping`."""
    said = r"next to nothing: its gradient is .* fade away below 1 \(damping\): set its `scale`, .* \(1 now\), to about (.*), or give damping="
    with pytest.warns(RuntimeWarning, match=said):
        faint = run(DyMO(lambda images, prompts: 1e-3 * images[:, 0].mean((1, 2)), borders=(1000, 1000)))
    largest = max(step.gradient_norm[0] for step in faint.trace.steps)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for more in (dict(damping=largest), dict(damping=0.0), dict(semantic_weight=1.0)):
            reward = None if "semantic_weight" in more else lambda images, prompts: 1e-3 * images[:, 0].mean((1, 2))
            run(DyMO(reward, **more))


def test_projection_changes_conflicting_gradients_and_no_others():
    agreeing = {tiny.brightness: 1.0, load_reward(lambda images, prompts: 2 * images.mean((1, 2, 3))): 1.0}
    made = [run(DyMO(load_reward(agreeing, conflicts=c), **BRIGHT, recurrences=0)) for c in ("sum", "project")]
    torch.testing.assert_close(made[0].images, made[1].images)
    opposed = {tiny.brightness: 1.0, darkness: 0.5}
    summed, projected = (DyMO(load_reward(opposed, conflicts=c), **BRIGHT, recurrences=0) for c in ("sum", "project"))
    assert run(summed).trace.failures == {}
    # Exactly opposed: all that is left to follow is rounding, which the damping of the step makes nothing of.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        kept = run(projected).trace.steps
    assert max(step.gradient_norm[0] or 0.0 for step in kept) < 1e-3 * run(summed).trace.steps[-1].gradient_norm[0]


def test_projection_keeps_the_batch_apart():
    table = {tiny.brightness: 1.0, redness: 1.0, darkness: 0.3}
    aligner = DyMO(load_reward(table, conflicts="project"), **BRIGHT, recurrences=0)
    seeds = [torch.Generator().manual_seed(i) for i in (0, 1)]
    both = aligner(tiny.sd(), PROMPTS, generator=seeds, **tiny.SMALL)
    alone = aligner(tiny.sd(), tiny.PROMPT, generator=torch.Generator().manual_seed(1), **tiny.SMALL)
    torch.testing.assert_close(both.images[1:], alone.images, atol=1e-4, rtol=1e-4)


# A black box.


def test_a_black_box_cannot_guide_and_can_watch():
    box = BlackBoxReward(lambda pictures, prompts: [picture.size[0] / 100 for picture in pictures], "width")
    with pytest.raises(RewardError, match=r"width is a black box.*cannot guide.*watch='width'.*dymo score"):
        DyMO(box)
    with pytest.raises(RewardError, match="black box"):
        DyMO({tiny.brightness: 1.0, box: 1.0})
    trace = run(DyMO(tiny.brightness, watch=box, **BRIGHT, recurrences=0)).trace
    assert [step.watched["width"][0] for step in trace.steps] == pytest.approx([0.32] * 4)


# The watch.


def test_watching_changes_nothing_and_costs_no_decode():
    plain = run(DyMO(tiny.brightness, **BRIGHT))
    watched = run(DyMO(tiny.brightness, watch=[darkness, redness], **BRIGHT))
    assert torch.equal(plain.images, watched.images)
    a, b = plain.trace.cost, watched.trace.cost
    assert (a.decodes, a.denoiser_calls, a.reward_calls) == (b.decodes, b.denoiser_calls, b.reward_calls)


def test_what_is_watched_is_the_prediction_that_the_guide_scored():
    trace = run(DyMO(tiny.brightness, watch=darkness, recurrences=2, borders=(700, 300)), prompt=PROMPTS).trace
    guided = [step for step in trace.steps if step.reward[0] is not None]
    assert 0 < len(guided) < len(trace.steps)
    for step in guided:
        assert step.watched["darkness"] == pytest.approx([-value for value in step.reward], abs=1e-6)
    assert all(not step.watched for step in trace.steps if step not in guided)
    assert Trace.from_json(trace.to_json()).to_json() == trace.to_json()


def test_hacking_is_said_once_and_in_the_trace():
    trace = hacked("warn", PROMPTS).trace
    assert set(trace.hacked) == {0, 1} and all(1 <= step < 4 for step in trace.hacked.values())
    assert Trace.from_json(trace.to_json()).hacked == trace.hacked
    with warnings.catch_warnings():
        warnings.simplefilter("error", RewardHackingWarning)
        kind = run(DyMO(tiny.brightness, watch=in_units(darkness, 10.0), **BRIGHT, recurrences=0))
    assert kind.trace.hacked == {}


def test_stop_leaves_the_rest_unguided():
    trace = hacked("stop").trace
    rang = trace.hacked[0]
    assert all(step.displacement[0] > 0 for step in trace.steps[: rang + 1])
    assert len(trace.steps) == 4 and rang < 3
    for step in trace.steps[rang + 1 :]:
        assert step.stage == "unguided" and step.reward == [None] and step.displacement == [None]


def test_stop_stops_a_picture_and_not_its_neighbour():
    def against_apples(images, prompts):
        signs = torch.tensor([-1.0 if "apple" in prompt else 1.0 for prompt in prompts])
        return signs * images.mean((1, 2, 3))

    watch = in_units(against_apples, 1e-4)
    aligner = DyMO(
        in_units(tiny.brightness, 1e-4), watch=watch, on_hacking="stop", max_step=0.5, eta=0.5, damping=0.0, recurrences=0,
        **BRIGHT,
    )  # fmt: skip
    with pytest.warns(RewardHackingWarning):
        trace = run(aligner, prompt=[tiny.PROMPT, "a green car"]).trace
    assert set(trace.hacked) == {0}
    for step in trace.steps[trace.hacked[0] + 1 :]:
        assert step.displacement[0] == 0 < step.displacement[1]
        assert step.reward[0] is None and step.reward[1] is not None and step.weights["preference"][0] == 0 < step.weights["preference"][1]
        assert step.watched["against_apples"][0] is None


@pytest.mark.parametrize("kind", ["pt", "pil"])
def test_best_returns_the_end_that_the_watched_put_higher(kind):
    pipe = tiny.sd()
    plain = pipe(tiny.PROMPT, generator=torch.Generator().manual_seed(0), **{**tiny.SMALL, "output_type": kind}).images

    def same(images, others):
        return all(
            (a == b).all() if kind == "pt" else a.tobytes() == b.tobytes() for a, b in zip(images, others, strict=True)
        )

    aligned = run(DyMO(tiny.brightness, **BRIGHT, recurrences=0), pipe, output_type=kind)
    cases = [(darkness, "unguided", plain), (redness, None, None), (tiny.brightness, "aligned", aligned.images)]
    for watch, returned, images in cases if kind == "pt" else cases[:1]:
        named = load_reward(watch)
        named.name = "held out"
        output = run(
            DyMO(tiny.brightness, watch=named, on_hacking="best", **BRIGHT, recurrences=0), pipe, output_type=kind
        )
        ends = output.trace.ends["held out"]
        best = max(ends, key=lambda end: ends[end][0])
        assert output.trace.returned == [best]
        if returned is not None:
            assert best == returned and same(output.images, images)


def test_best_books_what_the_unguided_picture_costs_and_keeps_the_budget():
    aligner = DyMO(tiny.brightness, watch=darkness, on_hacking="best", recurrences=3, **BRIGHT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RewardHackingWarning)
        free = run(aligner).trace
        assert free.evaluations == [4 + 4 * 4] and free.cost.denoiser_rows == 2 * 20
        for most in (8, 11):
            assert run(aligner, budget=Budget(evaluations=most)).trace.evaluations[0] <= most
    with pytest.raises(ConfigError, match=r"evaluations=7.*4 steps of the trajectory and the 4 of the unguided"):
        run(aligner, budget=Budget(evaluations=7))


def test_best_compares_with_the_user_s_own_seed_wherever_the_aligned_image_begins():
    pipe, settings = tiny.sd(), dict(scouts=3, scout_until=600.0, recurrences=0)
    plain = pipe(tiny.PROMPT, generator=torch.Generator().manual_seed(0), **tiny.SMALL).images
    aligner = DyMO(tiny.brightness, watch=darkness, on_hacking="best", **{**BRIGHT, **settings})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RewardHackingWarning)
        found = aligner(pipe, tiny.PROMPT, generator=torch.Generator().manual_seed(0), **tiny.SMALL)
    (scores,) = found.trace.scouts
    assert scores.index(max(scores)) != 0  # the seed that goes on is another one
    assert found.trace.returned == ["unguided"] and torch.equal(found.images, plain)


def test_best_calls_the_user_s_callback_for_its_own_trajectory_alone():
    seen = []

    def callback(pipe, index, t, found):
        seen.append(index)
        return found

    run(DyMO(tiny.brightness, watch=redness, on_hacking="best", recurrences=0, **BRIGHT), callback_on_step_end=callback)
    assert seen == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "settings, said",
    [
        (dict(watch=[darkness], on_hacking="ignore"), "on_hacking='ignore': choose one of 'warn', 'stop', 'best'"),
        (dict(on_hacking="best"), "on_hacking='best' needs held-out rewards"),
        (dict(watch=[tiny.brightness]), "watch='brightness' is the guide"),
        (dict(watch=[darkness, darkness]), "watched twice"),
        (dict(watch=[darkness], reward=None), "there is none: give reward="),
    ],
)
def test_what_cannot_be_watched(settings, said):
    with pytest.raises(ConfigError, match=said):
        DyMO(**{"reward": tiny.brightness, **settings})
