"""What the comparisons on held-out prompts say, from results whose differences are known."""

import numpy as np
import pytest

from dymo.bench.results import RowResult
from dymo.miniature.world import caption_of, split_of
from tools import ahead, few_steps, flow, flow_parts, held_out, quality, samplers, systems

STUDIES = {module.STUDY.name: module for module in (ahead, quality, samplers, systems, few_steps, flow, flow_parts)}
PROMPTS = 40


def invented(plan, gain, seeds=3):
    """Results in which a row's judge and rewards are those of `unguided` and gain(row, number of things) more, but for noise.

    The noise is each image's own, of mean zero over a prompt's seeds.
    """
    found = {}
    for row in plan.rows:
        values = {name: {} for name in (*plan.metrics, "evaluations", "tflop", "seconds")}
        for i, prompt in enumerate(plan.prompts):
            things = len(caption_of(prompt).things)
            base = {2: 60.0, 3: 30.0}[things] + i % 5
            for seed in range(seeds):
                for name in plan.metrics:
                    values[name][prompt, seed] = base + gain(row.name, things) * (1 + (i % 3 - 1) / 10) + (seed - 1)
                values["evaluations"][prompt, seed] = values["tflop"][prompt, seed] = values["seconds"][prompt, seed] = 1.0
        found[row.name] = RowResult(row, values=values)
    return found


def told(module, gain):
    plan = module.STUDY.plan(PROMPTS, 3)
    results = invented(plan, gain)
    said, level = held_out.tested(plan, results, module.STUDY.pairs(plan), module.STUDY.measures)
    return plan, results, said, level


@pytest.mark.parametrize("name", STUDIES)
def test_prompts_are_held_out_and_take_turns(name):
    study = STUDIES[name].STUDY
    plan = study.plan(study.prompts, study.seeds)
    assert len(set(plan.prompts)) == study.prompts and len(plan.seeds) == study.seeds == 3
    for i, prompt in enumerate(plan.prompts):
        caption = caption_of(prompt)
        assert split_of(caption) == "test" and len(caption.things) == (2, 3)[i % 2]
    rows = {row.name for row in plan.rows}
    assert all({a, b} <= rows for a, b in study.pairs(plan))


def test_a_difference_is_of_the_prompts_means_and_of_the_prompts_with_so_many_things():
    plan, results, said, _ = told(quality, lambda row, things: 0.0 if row == "unguided" else things**2)
    for measure, expected in ((held_out.TWO, 4.0), (held_out.THREE, 9.0), (held_out.ALL, 6.5)):
        row = held_out.values(results["fast"], measure, held_out.things(plan.prompts)[measure.things])
        base = held_out.values(results["unguided"], measure, held_out.things(plan.prompts)[measure.things])
        assert row.shape == ((PROMPTS if measure.things is None else PROMPTS // 2),)
        found = said["fast", "unguided", measure]
        assert found.mean == pytest.approx((row - base).mean()) and found.mean == pytest.approx(expected, rel=0.03)
        assert found.low <= found.mean <= found.high and found.word == "higher"
    same = said["fast, one seed, gradient full", "fast, one seed", held_out.ALL]
    assert same.mean == 0 and same.word == "no difference shown"


def test_a_preset_is_ahead_where_the_gain_is_there_and_not_where_it_is_too_small_or_best_of_n_has_it_too():
    def gains(fast, best):
        def gain(row, things):
            return 0.0 if row == "unguided" else best if row.startswith("best-of-N") else fast

        plan, results, said, _ = told(ahead, gain)
        return dict(ahead.claims(held_out.Found(plan, results, said)))

    assert all(gains(20.0, 5.0).values())
    small = {claim for claim, holds in gains(14.0, 5.0).items() if not holds}
    assert len(small) == 1 and all("at least 15 points" in claim for claim in small)
    equal = {claim for claim, holds in gains(20.0, 20.0).items() if not holds}
    assert len(equal) == 2 and all(claim.startswith("best-of-N") for claim in equal)


def test_another_system_is_behind_or_ahead_only_where_that_is_shown():
    def held(**gain):
        plan, results, said, _ = told(systems, lambda row, things: gain.get(row, 0.0))
        return dict(systems.claims(held_out.Found(plan, results, said)))

    assert all(held(DyMO=5.0).values())
    behind = held(DyMO=5.0, ReNO=5.0)
    assert {claim.split(" is ")[0] for claim, holds in behind.items() if not holds} == {"ReNO"}
    ahead = held(DyMO=5.0, DNO=9.0)
    assert [claim for claim, holds in ahead.items() if not holds][-1].startswith("none is shown to be ahead of DyMO: DNO, judge, two things, %")


def test_the_share_of_a_gain_that_is_kept():
    quick = f"fast, {samplers.QUICK}"
    gain = {f"fast, {samplers.SLOW}": 10.0, quick: 9.5}
    plan, results, said, _ = told(samplers, lambda row, things: gain.get(row, 0.0))
    found = held_out.Found(plan, results, said)
    assert samplers.kept(found, held_out.ALL) == pytest.approx((0.95, 0.95, 0.95))
    assert all(holds for _, holds in samplers.claims(found))
    gain[quick] = 8.0
    plan, results, said, _ = told(samplers, lambda row, things: gain.get(row, 0.0))
    assert not any(holds for _, holds in samplers.claims(held_out.Found(plan, results, said)))


def test_the_flow_claims_need_every_gain_and_a_baseline_with_room():
    def held(words, both, module=flow):
        gain = {flow.SEMANTIC: words, flow.BOTH: both, f"{flow.BOTH}, gradient full": both}
        plan, results, said, _ = told(module, lambda row, things: gain.get(row, 0.0))
        return [holds for _, holds in module.claims(held_out.Found(plan, results, said))]

    assert held(5.0, 12.0) == [True] * 4
    assert held(0.0, 12.0) == [True, False, True, True]
    assert held(5.0, 9.0) == [True, True, False, True]
    assert held(5.0, 0.0) == [True, True, False, False]
    assert held(5.0, 12.0, flow_parts) == [True]
    plan, results, said, _ = told(flow_parts, lambda row, things: 5.0 * row.endswith("gradient full"))
    assert [holds for _, holds in flow_parts.claims(held_out.Found(plan, results, said))] == [False]


def test_the_page_has_every_pair_and_its_mark():
    plan, results, said, _ = told(few_steps, lambda row, things: 5.0 * row.startswith("DyMO"))
    means, *rest = held_out.tables(plan, results, said)
    assert [row[0] for row in means[1].rows] == [row.name for row in plan.rows]
    cells = {heading: table for heading, table in rest}
    text = cells["Row minus `best-of-N, 4 steps`."].to_markdown()
    assert few_steps.FOUR in text and "▲" in text and "▼" not in text
    assert np.isfinite([row[1] for row in means[1].rows]).all()
