import numpy as np
import pytest
import torch

from dymo import Budget, ConfigError
from dymo.budget import Allotment


def spend(sizes, evaluations, want=10):
    """Run a trajectory whose gradients are `sizes`; returns the recurrences granted to each step."""
    allotment = Allotment(Budget(evaluations=evaluations))
    allotment.open(len(sizes))
    granted = []
    for i, size in enumerate(sizes):
        allotment.count([0], "mixed")
        granted += allotment.grant([0], [want], [size], len(sizes) - i - 1, "mixed")
        for _ in range(granted[-1]):
            allotment.count([0], "mixed")
    return granted, allotment.spent[0]


@pytest.mark.parametrize("evaluations", [10, 13, 20, 37, 100])
def test_a_budget_of_evaluations_is_never_exceeded_and_well_spent(evaluations):
    _, spent = spend([3, 1, 4, 1, 5, 9, 2, 6, 5, 3], evaluations)
    assert spent <= evaluations
    assert spent >= 0.8 * evaluations


def test_it_is_spent_where_the_gradient_is_large():
    granted, _ = spend([1, 1, 1, 8, 8, 8, 1, 1, 1, 1], 26)
    assert sum(granted[3:6]) > sum(granted[:3]) and min(granted[3:6]) >= max(granted[6:])


def test_without_a_budget_all_wishes_are_granted():
    allotment = Allotment()
    allotment.open(5)
    allotment.count([0], "mixed")
    assert allotment.grant([0], [3], [1.0], 4, "mixed") == [3]
    assert allotment.guides(4, "mixed")


def test_less_than_the_trajectory_is_refused():
    with pytest.raises(ConfigError, match="25 steps"):
        Allotment(Budget(evaluations=24)).open(25)
    for wrong in (dict(evaluations=0), dict(seconds=-1.0), dict(evaluations=2.5), dict(bytes=0), dict(seconds="20")):
        with pytest.raises(ConfigError):
            Budget(**wrong)
    assert Budget(evaluations=np.int64(30)).evaluations == 30


def test_p14_seconds_are_kept_by_a_clock_with_the_decode_reserved_and_each_stage_at_its_own_price():
    now = [0.0]
    allotment = Allotment(Budget(seconds=12.0), clock=lambda: now[0], began=-1.0, reserve=1.0)
    allotment.open(5)
    now[0] += 1.0
    allotment.count([0], "unguided")
    # 9 s left at 1 s each, 4 steps to come: 5 evaluations are free; the gradient takes its share of them.
    assert allotment.grant([0], [9], [1.0], 4, "unguided") == [1]
    assert allotment.guides(4, "mixed")  # 3 s as a guess, and three at 1 s
    now[0] += 4.0
    allotment.count([0], "mixed")
    assert allotment.price("mixed") == 4.0 and allotment.price("unguided") == 1.0
    assert allotment.guides(2, "mixed") and not allotment.guides(3, "mixed")  # 5 s are left
    assert [allotment.plan("mixed", "full", left) for left in (2, 3)] == [("full", None), ("full", "seconds")]


def test_bytes_are_found_out_by_the_first_evaluation_and_lead_to_a_cheaper_gradient():
    allotment = Allotment(Budget(bytes=1000))
    x = torch.ones(100, requires_grad=True)
    with allotment.weighed("mixed", "full"):
        y = (x * x).exp()  # keeps x (400 bytes) once and the result of exp
    assert allotment.kept["mixed", "full"] == 800 and allotment.plan("mixed", "full", 1) == ("full", None)
    with allotment.weighed("mixed", "full"):
        (y.exp() * x).exp()
    assert allotment.kept["mixed", "full"] > 1000 and allotment.plan("mixed", "full", 1) == ("straight-through", None)
    with allotment.weighed("mixed", "straight-through"):
        (x.exp() * y.exp()).exp()
    assert allotment.plan("mixed", "full", 1)[1] == "bytes" and allotment.plan("semantic", "full", 1) == ("full", None)


def test_the_clock_starts_with_the_call():
    assert Allotment(Budget(seconds=5.0), clock=lambda: 3.0, began=0.0).seconds_left() == 2.0
