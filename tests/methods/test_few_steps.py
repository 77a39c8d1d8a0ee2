"""Guidance of few steps on the closed form of tests/methods/test_dymo.py: the shell, the draws, the best, the budget."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from methods.test_dymo import ABAR, STEPS, Gaussian, Linear, U, level

from dymo.budget import Allotment, Budget
from dymo.config import Config
from dymo.generation.recorder import Recorder
from dymo.guidance.loop import PREDICTION, Timestep
from dymo.guidance.observer import Observer
from dymo.methods.few_steps import FRESH, few_steps
from dymo.trace import Trace

CONFIG = Config(semantic_weight=0.0, damping=0.0, max_step=None)


class Recorded(Gaussian):
    """Notes the z of each evaluation, by level."""

    def predict(self, *args, **kwargs):
        seen = super().predict(*args, **kwargs)
        self.seen = getattr(self, "seen", {})
        self.seen.setdefault(self.now.index, []).append((seen.rows, seen.z.detach().clone(), seen.z0.detach().clone()))
        return seen


def start(n=3, seed=1):
    return torch.randn(n, 2, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def losses(loop, index, sample):
    return [-(U * z0[rows.index(sample)]).sum().item() for rows, _, z0 in loop.seen[index] if sample in rows]


@pytest.mark.parametrize("fresh", [True, False])
def test_the_first_noise_is_chosen_among_several_and_moves_on_its_shell_against_the_loss(fresh):
    z = start()
    loop = Recorded(z.clone())
    few_steps(loop, [Linear(U)], CONFIG, fresh=fresh)
    first = [part for rows, part, _ in loop.seen[0] if len(rows) == 3][: CONFIG.updates + 1]
    drawn = round(FRESH * CONFIG.updates) if fresh else 0
    for part in first:
        torch.testing.assert_close(part.flatten(1).norm(dim=1), z.flatten(1).norm(dim=1), rtol=1e-5, atol=0)
    for sample in range(3):
        course = losses(loop, 0, sample)
        best = course.index(min(course[: drawn + 1]))
        along = (first[drawn + 1] - first[best])[sample].flatten() @ U.flatten()
        assert along > 0 and course[drawn + 1] < course[best] and min(course) < course[best] - 0.3
        if fresh:  # other noise, not a step
            others = torch.stack([part[sample].flatten() for part in first[: drawn + 1]])
            assert torch.corrcoef(others).triu(1).abs().max() < 0.7


def test_a_run_that_does_not_begin_at_noise_keeps_its_beginning():
    class Later(Recorded):
        def __iter__(self):
            for now in super().__iter__():
                self.now = dataclasses.replace(now, done=0.5 + now.done / 2)
                yield self.now

    z = start()
    loop, kept = Later(z.clone()), Recorded(z.clone())
    few_steps(loop, [Linear(U)], CONFIG)
    few_steps(kept, [Linear(U)], CONFIG, fresh=False)
    assert all(torch.equal(a, b) for (_, a, _), (_, b, _) in zip(loop.seen[0], kept.seen[0], strict=True))


def test_words_steer_and_the_reward_chooses():
    loop = Recorded(start())
    few_steps(loop, [Linear(-5 * U, "semantic", "maps"), Linear(U)], dataclasses.replace(CONFIG, semantic_weight=1.0))
    for i in range(3):
        first = [(z0[rows.index(i)], z[rows.index(i)]) for rows, z, z0 in loop.seen[0] if i in rows]
        drawn = round(FRESH * CONFIG.updates)
        pleased = [(U * z0).sum() for z0, _ in first]
        assert max(pleased) == max(pleased[: drawn + 1])  # the words drag it down from there
        best = first[pleased.index(max(pleased))][1]
        assert any(torch.equal(best, z[rows.index(i)]) for rows, z, _ in loop.seen[0][-1:] if i in rows)


def test_later_levels_are_drawn_from_the_prediction_and_the_best_goes_on():
    torch.manual_seed(0)
    loop = Recorded(start(400))
    few_steps(loop, [Linear(U)], CONFIG)
    for index in range(1, STEPS):
        assert [len(rows) for rows, _, _ in loop.seen[index][: CONFIG.draws + 1]] == [400] * (CONFIG.draws + 1)
    here = level(ABAR[STEPS - 1])
    accepted = {}
    for rows, _, z0 in loop.seen[STEPS - 2]:
        for k, i in enumerate(rows):
            value = -(U * z0[k]).sum().item()
            if i not in accepted or value < accepted[i][0]:
                accepted[i] = value, z0[k]
    before = torch.stack([accepted[i][1] for i in range(400)])
    for _, z, _ in loop.seen[STEPS - 1][1 : CONFIG.draws + 1]:
        noise = (z - here.a * before) / here.s
        assert abs(noise.mean()) < 0.05 and noise.std() == pytest.approx(1, abs=0.05)


def test_the_image_is_the_best_prediction_of_the_levels_after_the_first():
    class Worse(Recorded):
        """Whose last level is as good as the one before for the first half of the samples, and much worse for the others."""

        def predict(self, *args, **kwargs):
            seen = super().predict(*args, **kwargs)
            if self.now.index == STEPS - 1:
                less = torch.tensor([5.0 * (i >= 100) for i in seen.rows], dtype=torch.float64)
                seen = dataclasses.replace(seen, z0=seen.z0 - less.view(-1, 1, 1, 1) * U)
                self.seen[self.now.index][-1] = (seen.rows, seen.z.detach().clone(), seen.z0.detach().clone())
            return seen

    class Told(Recorder):
        def accepted(self, z, z0):
            self.z, self.z0 = z, z0
            return super().accepted(z, z0)

    class Scored(Linear):
        def loss(self, seen):
            loss = super().loss(seen)
            seen.notes["reward"] = -loss.detach()
            return loss

    loop, trace = Worse(start(200)), Trace(prompts=[""] * 200)
    told = Told(trace, [], [{}] * 200, False, lambda z0: z0, None)
    few_steps(loop, [Scored(U)], CONFIG, None, told)
    told.finish()
    last = 0
    for i in range(200):
        found = {index: max(-x for x in losses(loop, index, i)) for index in range(STEPS)}
        best = max(range(1, STEPS), key=found.__getitem__)
        if best < STEPS - 1:
            assert (U * loop.z[i]).sum().item() == pytest.approx(found[best], abs=1e-4)
            assert (U * told.z0[i]).sum().item() == pytest.approx(found[best], abs=1e-4)  # which the preview shows
        # The trace's last step tells of the image that is returned.
        assert trace.steps[-1].reward[i] == pytest.approx(found[best], abs=1e-4)
        assert trace.steps[-1].losses["preference"][i] == pytest.approx(-found[best], abs=1e-4)
        last += best == STEPS - 1
    assert 50 < last <= 100


def test_without_an_objective_it_is_the_plain_run():
    loop, plain = Gaussian(start()), Gaussian(start())
    few_steps(loop, [], CONFIG)
    for _ in plain:
        plain.accept(plain.sampler_step(plain.predict()))
    assert torch.equal(loop.z, plain.z) and len(loop.calls) == STEPS


@pytest.mark.parametrize("evaluations", [STEPS, STEPS + 3, 20, 40, 100])
def test_the_budget_is_kept_and_half_of_it_goes_to_the_first_level(evaluations):
    loop = Recorded(start())
    few_steps(loop, [Linear(U)], CONFIG, Allotment(Budget(evaluations=evaluations)))
    spent = [sum(i in rows for rows in loop.calls) for i in range(3)]
    assert all(STEPS <= n <= evaluations for n in spent)
    if evaluations >= 40:
        assert min(spent) > 0.8 * evaluations
        assert 0.35 * evaluations < len(loop.seen[0]) <= 0.5 * evaluations + 1


class Told(Observer):
    """What a run says of its levels."""

    def __init__(self):
        self.kinds, self.short, self.again, self.reads = [], [], {}, 0

    def begin(self, now, stage, short):
        self.kinds.append(stage)
        self.short.append(short)

    def granted(self, rows, recurrences):
        self.again[len(self.kinds) - 1] = recurrences

    def read(self, *values):
        self.reads += 1
        return super().read(*values)


class Clocked(Recorded):
    """Takes a second for an evaluation, and three for one that a gradient goes through."""

    seconds = 0.0

    def predict(self, z=None, rows=None, need=PREDICTION):
        self.seconds += 3.0 if need.through != "none" else 1.0
        return super().predict(z, rows, need)


@pytest.mark.parametrize("seconds", [1e-3, 11.0, 20.0, 30.0, 45.0, 1000.0])
def test_seconds_are_kept_and_what_they_do_not_allow_is_said(seconds):
    loop, told = Clocked(start()), Told()
    few_steps(loop, [Linear(U)], CONFIG, Allotment(Budget(seconds=seconds), clock=lambda: loop.seconds, began=0.0), told)
    assert loop.seconds <= max(seconds, STEPS + 2)
    if seconds >= 20:
        assert loop.seconds >= min(0.8 * seconds, 3 * (CONFIG.updates + 1) + STEPS)
    for index, (kind, short) in enumerate(zip(told.kinds, told.short, strict=True)):
        whole = [rows for rows, _, _ in loop.seen[index] if len(rows) == 3]
        assert (kind == "unguided") == (short == "seconds") == (index not in told.again)
        assert len(whole) - told.again.get(index, [0])[0] in (1, 2)  # the second where the best was another for all of them
    assert ("seconds" in told.short) == (seconds < 30) and told.reads <= STEPS
    if seconds >= 30:  # the first level takes half, or what the others cannot take, and leaves them their draws
        assert 3 * (told.again[0][0] + 1) <= max(seconds / 2, seconds - 3 * (CONFIG.draws + 2) * (STEPS - 1)) + 3
        assert all(told.again[i][0] == CONFIG.draws for i in range(STEPS) if told.kinds[i] == "preference" and i < STEPS - 1)


def test_where_the_bytes_do_not_hold_a_gradient_draws_are_compared():
    class Pulled(Recorded):
        pulls = 0

        def predict(self, *args, **kwargs):
            seen = super().predict(*args, **kwargs)

            def pull(loss, keep=False):
                self.pulls += 1
                return seen.pull(loss, keep)

            return dataclasses.replace(seen, pull=pull)

    loop, told = Pulled(start()), Told()
    both = [Linear(-5 * U, "semantic", "maps"), Linear(U)]
    few_steps(loop, both, dataclasses.replace(CONFIG, semantic_weight=1.0), Allotment(Budget(bytes=1)), told)
    assert loop.pulls == 2  # each way once, to find out
    assert told.kinds == ["mixed"] + ["preference"] * (STEPS - 1) and told.again[0] == [CONFIG.updates] * 3
    mixed = [index for index in range(1, STEPS) if 900 * (1 - index / STEPS) >= 500]
    assert [index for index, short in enumerate(told.short) if short] == mixed
    z = start()
    for _, part, _ in loop.seen[0][2 : CONFIG.updates + 1]:  # other noise on the same shell
        torch.testing.assert_close(part.flatten(1).norm(dim=1), z.flatten(1).norm(dim=1), rtol=1e-5, atol=0)
        assert torch.corrcoef(torch.stack([part[0].flatten(), z[0].flatten()]))[0, 1].abs() < 0.7
    for i in range(3):  # and the best of them goes on
        course = losses(loop, 0, i)
        assert course[-1] == min(course) or min(course) == course[CONFIG.updates]


def test_a_gradient_that_leaves_out_the_denoiser_fits_more_bytes():
    class Needs(Recorded):
        def predict(self, z=None, rows=None, need=PREDICTION):
            self.asked = [*getattr(self, "asked", []), need.through]
            return super().predict(z, rows, need)

    allotment = Allotment(Budget(bytes=10**6))
    allotment.kept["mixed", "full"] = 10**6 + 1
    loop, told = Needs(start()), Told()
    few_steps(loop, [Linear(U)], CONFIG, allotment, told)
    assert set(loop.asked) == {"none"} and told.short == [None] * STEPS and told.kinds[:2] == ["mixed", "mixed"]
    assert allotment.kept["mixed", "straight-through"] > 0


def test_where_there_is_neither_a_gradient_nor_a_draw_the_level_is_left_to_the_sampler():
    def run(objectives, **settings):
        allotment = Allotment(Budget(bytes=1))
        allotment.kept |= {("mixed", "full"): 2, ("mixed", "straight-through"): 2}
        loop, told = Recorded(start()), Told()
        few_steps(loop, objectives, dataclasses.replace(CONFIG, semantic_weight=1.0), allotment, told, **settings)
        return told

    words = run([Linear(U, "semantic", "maps")])
    assert set(words.kinds) == {"unguided"} and words.short[0] == "bytes"
    kept = run([Linear(U)], fresh=False)  # an image that must not begin at other noise
    assert kept.kinds == ["unguided"] + ["preference"] * (STEPS - 1)


def test_a_batch_is_what_single_runs_are():
    class Own(Recorded):
        """Each sample's noise is its own."""

        def noise(self, rows):
            self.count = getattr(self, "count", {})
            found = []
            for i in rows:
                self.count[i] = self.count.get(i, 0) + 1
                seed = 1000 * (i + self.first) + self.count[i]
                found.append(torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
            return torch.stack(found)

    def run(z, first):
        loop = Own(z.clone())
        loop.first = first
        few_steps(loop, [Linear(U)], CONFIG)
        return loop.z

    z = start()
    together = run(z, 0)
    for i in range(3):
        torch.testing.assert_close(run(z[i : i + 1], i), together[i : i + 1])


def test_one_step_ends_in_an_image_of_the_model():
    class One(Recorded):
        def __iter__(self):
            self.now = Timestep(0, 1, 999.0, level(ABAR[0]), level(1.0), 0.0)
            yield self.now

    loop = One(start())
    few_steps(loop, [Linear(U)], CONFIG)
    for i in range(3):
        ends = [z0[rows.index(i)] for rows, _, z0 in loop.seen[0] if i in rows]
        best = max(ends, key=lambda z0: (U * z0).sum())
        torch.testing.assert_close(loop.z[i].float(), best.float())


def test_a_sample_that_the_reward_rests_on_is_left_to_the_sampler():
    class Resting(Linear):
        resting = frozenset({1})

    z = start()
    loop, plain = Recorded(z.clone()), Recorded(z[1:2].clone())
    few_steps(loop, [Resting(U)], CONFIG)
    few_steps(plain, [], CONFIG)
    torch.testing.assert_close(loop.z[1:2].float(), plain.z.float())
    assert not torch.allclose(loop.z[0], plain.z[0])
