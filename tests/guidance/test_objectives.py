from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F

from dymo.guidance.objectives import preference_loss, semantic_loss, word_map


@dataclass
class Pairs:
    positive: tuple = ()
    negative: tuple = ()


def maps_of(*columns):
    return torch.tensor(columns, dtype=torch.float64).T[None]


def test_equal_maps_of_object_and_attribute_are_the_optimum():
    maps = maps_of([1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0])
    pairs = Pairs(positive=(((0,), (1,)),), negative=(((0,), (2,)),))
    assert semantic_loss(maps, [pairs]).item() == pytest.approx(-1.0)


def test_a_cosine_computed_by_hand():
    maps = maps_of([3, 4, 0, 0], [4, 3, 0, 0], [0, 1, 0, 0])
    loss = semantic_loss(maps, [Pairs(positive=(((0,), (1,)),), negative=(((0,), (2,)),))])
    assert loss.item() == pytest.approx(-24 / 25 + 4 / 5)


def test_means_over_pairs_and_empty_sets():
    maps = maps_of([1, 0], [1, 0], [0, 1])
    two = Pairs(positive=(((0,), (1,)), ((0,), (2,))))
    assert semantic_loss(maps, [two]).item() == pytest.approx(-0.5)
    assert semantic_loss(maps, [Pairs()]).item() == 0


def test_pieces_of_a_word_share_its_map_and_scale_does_not_matter():
    maps = torch.rand(1, 9, 5, dtype=torch.float64)
    torch.testing.assert_close(word_map(maps[0], (1, 3)), word_map(7 * maps[0], (1, 3)))
    assert word_map(maps[0], (1, 3)).sum().item() == pytest.approx(1)
    torch.testing.assert_close(word_map(maps[0], (2,)), maps[0, :, 2] / maps[0, :, 2].sum())


@pytest.mark.parametrize("faint", [0.0, 1e-40, 1e-30, 1e-25, 1e-20])
def test_a_word_that_is_nowhere_has_a_finite_loss_and_slope(faint):
    maps = torch.rand(1, 64, 4).mul(torch.tensor([faint, 1.0, faint, 1.0])).requires_grad_()
    of_two_encoders = Pairs(positive=((((0,), (2,)), ((1,), (3,))),))
    for pairs in (Pairs(positive=(((0,), (1,)),), negative=(((0,), (2,)),)), of_two_encoders):
        loss = semantic_loss(maps, [pairs])
        assert -1 <= loss.item() <= 1
        assert torch.autograd.grad(loss.sum(), maps)[0].isfinite().all()


def test_samples_do_not_mix():
    maps = torch.rand(2, 9, 4, dtype=torch.float64, requires_grad=True)
    pairs = Pairs(positive=(((0,), (1,)),))
    (gradient,) = torch.autograd.grad(semantic_loss(maps, [pairs, pairs])[0], maps)
    assert gradient[0].abs().sum() > 0
    assert gradient[1].abs().sum() == 0


def test_gradcheck():
    maps = torch.rand(1, 6, 4, dtype=torch.float64, requires_grad=True)
    pairs = [Pairs(positive=(((0, 1), (2,)),), negative=(((0,), (3,)),))]
    assert torch.autograd.gradcheck(lambda m: semantic_loss(m, pairs), maps)


def test_the_forms_of_the_preference_loss():
    scores = torch.tensor([[20.0, 25.0], [22.0, 21.0]])
    torch.testing.assert_close(
        preference_loss(scores, "norm", 1.0, 100.0), -torch.tensor([(884.0) ** 0.5, (1066.0) ** 0.5])
    )
    torch.testing.assert_close(preference_loss(scores, "score", 1.0, 100.0), -torch.tensor([21.0, 23.0]))
    expected = -torch.tensor([0.2, 0.25]).mul(3).exp()
    torch.testing.assert_close(preference_loss(scores[:1], "exponential", 3.0, 100.0), expected)
    # A reward that is no cosine enters as -score.
    torch.testing.assert_close(preference_loss(scores[:1], "exponential", 3.0, None), -scores[0])


@pytest.mark.parametrize("form", ["exponential", "score", "norm"])
def test_descending_the_preference_loss_raises_the_score(form):
    scores = torch.tensor([[20.0]], requires_grad=True)
    (slope,) = torch.autograd.grad(preference_loss(scores, form, 5.0, 100.0).sum(), scores)
    assert slope.item() < 0


def test_the_loss_of_a_batch_is_that_of_its_words_maps_pair_by_pair():
    maps = torch.rand(3, 16, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    both = ((1, 2), (5,))  # a word that two text encoders read, in the first by two pieces
    several = [
        Pairs(positive=((both, ((3,), (6,))),), negative=((both, ((4,), (7,))), (((3,), (6,)), ((4,), (7,))))),
        Pairs(positive=(((1,), (2, 3)), ((4,), (5,)))),
        Pairs(),
    ]
    by_hand = []
    for sample, pairs in zip(maps, several, strict=True):
        loss = torch.zeros((), dtype=maps.dtype)
        for sign, chosen in ((-1, pairs.positive), (1, pairs.negative)):
            cosines = [F.cosine_similarity(word_map(sample, s), word_map(sample, o), dim=0) for s, o in chosen]
            loss = loss + sign * sum(cosines) / max(1, len(cosines))
        by_hand.append(loss)
    torch.testing.assert_close(semantic_loss(maps, several), torch.stack(by_hand))
