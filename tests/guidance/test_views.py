import torch

from dymo.guidance.views import views


def test_the_first_view_is_the_picture_and_the_rest_are_seeded():
    images = torch.rand(2, 3, 16, 24)
    made = views(images, 4, [3] * len(images))
    assert made.shape == (4, 2, 3, 16, 24)
    assert torch.equal(made[0], images)
    assert torch.equal(made, views(images, 4, [3] * len(images)))
    assert not torch.equal(made[1], views(images, 4, [4] * len(images))[1])
    assert made.min() > -0.3 and made.max() < 1.3


def test_a_batch_equals_single_pictures():
    images, seeds = torch.rand(3, 3, 16, 16), [0, 5, 0]
    singles = torch.cat([views(image[None], 3, [seed]) for image, seed in zip(images, seeds, strict=True)], 1)
    torch.testing.assert_close(views(images, 3, seeds), singles)


def test_differentiable():
    images = 0.25 + 0.5 * torch.rand(1, 3, 8, 8, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: views(x, 2, [1] * len(x)), images.requires_grad_())
