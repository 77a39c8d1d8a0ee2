"""Preprocessing against the originals': PIL for those that resize 8-bit images, torch for the one that does not."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps

from dymo.rewards.preprocess import longest_side_pad, resized, shortest_side_crop, shortest_side_crop_aliased

# Height, width: small, odd, portrait, landscape, exactly the tower's, very long.
SIZES = [(64, 64), (101, 97), (300, 200), (317, 511), (224, 224), (500, 225), (90, 341), (768, 1025)]
ROUNDING = 2.5 / 255  # PIL rounds to 8 bits after each of its two passes
SIDE = 224


def drawn(size):
    torch.manual_seed(sum(size))
    found = F.interpolate(torch.rand(1, 3, 9, 7), size, mode="bicubic") + 0.1 * torch.rand(1, 3, *size)
    return found.clamp(0, 1).mul(255).round() / 255


def pil(images):
    return Image.fromarray((images[0].permute(1, 2, 0) * 255).round().byte().numpy())


def tensor(image):
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None] / 255


@pytest.mark.parametrize("margin", ["floor", "round"])
@pytest.mark.parametrize("size", SIZES)
def test_shortest_side_and_crop_is_pil_s(size, margin):
    """torchvision's Resize(224), CenterCrop(224) rounds the margin; CLIPProcessor's floors it."""
    height, width = size
    new = (SIDE, int(SIDE * width / height)) if height <= width else (int(SIDE * height / width), SIDE)
    resized = pil(drawn(size)).resize(new[::-1], Image.Resampling.BICUBIC)
    excess = [n - SIDE for n in new]
    top, left = [e // 2 for e in excess] if margin == "floor" else [round(e / 2.0) for e in excess]
    expected = tensor(resized.crop((left, top, left + SIDE, top + SIDE)))
    torch.testing.assert_close(shortest_side_crop(drawn(size), SIDE, margin), expected, atol=ROUNDING, rtol=0)


def test_the_two_margins_differ_where_the_excess_is_three():
    images = torch.arange(11.0).expand(1, 3, 8, 11) / 11
    assert shortest_side_crop(images, 8, "floor")[0, 0, 0, 0] == images[0, 0, 0, 1]
    assert shortest_side_crop(images, 8, "round")[0, 0, 0, 0] == images[0, 0, 0, 2]


@pytest.mark.parametrize("size", SIZES)
def test_longest_side_and_padding_is_pil_s(size):
    """open_clip's ResizeMaxSize: scaled by the longest side, the rest black and centred."""
    scale = SIDE / max(size)
    new = [round(side * scale) for side in size]
    resized = pil(drawn(size)).resize(new[::-1], Image.Resampling.BICUBIC)
    rows, columns = SIDE - new[0], SIDE - new[1]
    border = (columns // 2, rows // 2, columns - columns // 2, rows - rows // 2)
    expected = tensor(ImageOps.expand(resized, border, fill=0))
    torch.testing.assert_close(longest_side_pad(drawn(size), SIDE), expected, atol=ROUNDING, rtol=0)


def test_an_image_whose_longest_side_fits_is_padded_all_the_same():
    made = longest_side_pad(torch.ones(1, 3, 100, SIDE), SIDE)
    assert made.shape == (1, 3, SIDE, SIDE)
    assert made[0, 0, :, 0].tolist() == [0.0] * 62 + [1.0] * 100 + [0.0] * 62


@pytest.mark.parametrize("size", SIZES)
def test_the_step_aware_model_s_is_torch_s_without_antialias(size):
    """Its own lines: interpolate [-1, 1], round the long side, crop as torchvision, clamp in [0, 1]."""
    signed = drawn(size) * 2 - 1
    scale = SIDE / min(size)
    new = tuple(int(side * scale + 0.5) for side in size)
    signed = F.interpolate(signed, size=new, mode="bicubic", align_corners=False)
    top, left = (round((n - SIDE) / 2.0) for n in new)
    expected = (signed[..., top : top + SIDE, left : left + SIDE] / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(shortest_side_crop_aliased(drawn(size), SIDE), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", SIZES)
def test_resizing_by_products_is_torch_s_and_so_is_its_gradient(size):
    new = (SIDE, round(SIDE * size[1] / size[0])) if size[0] <= size[1] else (round(SIDE * size[0] / size[1]), SIDE)
    images = (0.2 + 0.6 * drawn(size)).requires_grad_()  # nothing is cut
    mine, theirs = resized(images, new), F.interpolate(images, new, mode="bicubic", antialias=True)
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0)
    weights = torch.rand_like(theirs)
    (a,), (b,) = (torch.autograd.grad((x * weights).sum(), images) for x in (mine, theirs))
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_antialias_makes_the_difference():
    stripes = torch.arange(512).remainder(7).lt(2).float().expand(1, 3, 512, 512)
    assert shortest_side_crop_aliased(stripes, 64).std() > 3 * shortest_side_crop(stripes, 64).std()


@pytest.mark.parametrize("prepare", [shortest_side_crop, shortest_side_crop_aliased, longest_side_pad])
@pytest.mark.parametrize("size", [(11, 11), (9, 14)])
def test_gradients(prepare, size):
    torch.manual_seed(0)
    images = (0.3 + 0.4 * torch.rand(1, 3, *size, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: prepare(x, 6), images)
