"""PCGrad, by its definition."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from dymo.guidance.gradient import without_conflict


def by_hand(gradients):
    """One sample, plain loops: gradients (K, d) -> (d,)."""
    total = torch.zeros(gradients.shape[1])
    for k in range(len(gradients)):
        own = gradients[k].clone()
        for j in range(len(gradients)):
            if j != k and own @ gradients[j] < 0:
                own -= (own @ gradients[j]) / (gradients[j] @ gradients[j]) * gradients[j]
        total += own
    return total


@given(st.integers(1, 4), st.integers(0, 10_000))
def test_it_is_the_published_algorithm_for_each_sample(k, seed):
    gradients = torch.randn(k, 3, 2, 2, 2, generator=torch.Generator().manual_seed(seed))
    expected = torch.stack([by_hand(gradients[:, i].flatten(1)) for i in range(3)]).view(3, 2, 2, 2)
    torch.testing.assert_close(without_conflict(gradients), expected, atol=1e-5, rtol=1e-4)


def test_of_two_neither_loses_to_first_order():
    """The sum freed of conflict goes down along both losses; the plain sum goes up along the weaker."""
    strong, weak = torch.tensor([4.0, 0.0]), torch.tensor([-1.0, 1.0])
    made = without_conflict(torch.stack([strong, weak])[:, None])[0]
    assert (strong + weak) @ weak < 0
    assert made @ strong >= 0 and made @ weak >= 0


def test_agreeing_gradients_are_added_and_opposite_ones_cancel():
    a, b = torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 0.5]])
    torch.testing.assert_close(without_conflict(torch.stack([a, b])), a + b)
    torch.testing.assert_close(without_conflict(torch.stack([a, -3 * a])), torch.zeros(1, 2))
    torch.testing.assert_close(without_conflict(torch.stack([a, 0 * a])), a)
