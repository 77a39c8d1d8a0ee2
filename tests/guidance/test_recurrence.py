import pytest

from dymo import Budget, Config, ConfigError
from dymo.guidance.recurrence import Purse, wanted


def test_dynamic_recurrences_grow_with_the_gradient_up_to_the_cap():
    config = Config(h=(1.0, 1.0, 3.0), max_recurrences=4)
    assert [wanted(config, 0, g) for g in (0.2, 1.0, 2.9, 50.0)] == [0, 1, 2, 4]
    assert wanted(config, 2, 1.0) == 3
    assert wanted(config, 0, float("nan")) == wanted(config, 0, float("inf")) == 0
    assert wanted(Config(recurrences=7), 0, 0.0) == 7


def spend(sizes, evaluations, want=10):
    """Run a trajectory whose gradients are `sizes`; returns the recurrences granted to each step."""
    purse = Purse(Budget(evaluations=evaluations))
    purse.open(len(sizes), 1)
    granted = []
    for i, size in enumerate(sizes):
        purse.count([0])
        granted.append(purse.grant(0, want, size, len(sizes) - i - 1))
        for _ in range(granted[-1]):
            purse.count([0])
    return granted, purse.spent[0]


@pytest.mark.parametrize("evaluations", [10, 13, 20, 37, 100])
def test_a_budget_of_evaluations_is_never_exceeded_and_well_spent(evaluations):
    _, spent = spend([3, 1, 4, 1, 5, 9, 2, 6, 5, 3], evaluations)
    assert spent <= evaluations
    assert spent >= 0.8 * evaluations


def test_it_is_spent_where_the_gradient_is_large():
    granted, _ = spend([1, 1, 1, 8, 8, 8, 1, 1, 1, 1], 26)
    assert sum(granted[3:6]) > sum(granted[:3]) and min(granted[3:6]) >= max(granted[6:])


def test_without_a_budget_all_wishes_are_granted():
    purse = Purse(Budget())
    purse.open(5, 1)
    purse.count([0])
    assert purse.grant(0, 3, 1.0, 4) == 3
    assert not purse.late(4)


def test_less_than_the_trajectory_is_refused():
    with pytest.raises(ConfigError, match="25 steps"):
        Purse(Budget(evaluations=24)).open(25, 1)
    for wrong in (dict(evaluations=0), dict(seconds=-1.0), dict(evaluations=2.5)):
        with pytest.raises(ConfigError):
            Budget(**wrong)


def test_seconds_are_kept_by_a_clock():
    now = [0.0]
    purse = Purse(Budget(seconds=10.0), clock=lambda: now[0])
    purse.open(5, 1)
    now[0] += 1.0
    purse.count([0])
    # 9 s left at 1 s each, 4 steps to come: 5 evaluations are free; the gradient takes its share of them.
    assert purse.grant(0, 9, 1.0, 4) == 1
    assert not purse.late(4)
    now[0] = 7.0
    assert purse.late(4)
