import torch
from PIL import Image

from dymo.pixels import from_pil, to_pil


def test_there_and_back_loses_no_more_than_the_rounding_to_eight_bits():
    images = torch.rand(2, 3, 5, 7)
    again = from_pil(to_pil(images))
    assert again.shape == images.shape and again.dtype == torch.float32
    assert (again - images).abs().max() <= 0.5 / 255 + 1e-6
    assert torch.equal(from_pil(to_pil(again)), again)


def test_what_is_out_of_range_is_cut_off_and_does_not_wrap_around():
    red, green, blue = to_pil(torch.tensor([-0.5, 0.5, 1.5]).view(1, 3, 1, 1))[0].getpixel((0, 0))
    assert (red, green, blue) == (0, 128, 255)


def test_grey_and_transparent_images_are_taken():
    assert from_pil([Image.new("L", (4, 2), 255)]).tolist() == torch.ones(1, 3, 2, 4).tolist()
    assert from_pil([Image.new("RGBA", (4, 2), (255, 0, 0, 7))])[0, :, 0, 0].tolist() == [1, 0, 0]
