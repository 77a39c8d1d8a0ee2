"""The return of a pipeline in every type, and the choice between two."""

import flows
import numpy as np
import pytest
import tiny
import torch
from diffusers.pipelines.kandinsky5.pipeline_output import KandinskyImagePipelineOutput
from diffusers.pipelines.stable_diffusion import StableDiffusionPipelineOutput

from dymo.pipelines.decode import decoder
from dymo.pipelines.images import Noise, exchange, images_of, with_images


@pytest.fixture(scope="module")
def pipe():
    return tiny.sd()


def generate(pipe, kind, **more):
    call = {**tiny.SMALL, "num_inference_steps": 2, "output_type": kind, **more}
    return pipe([tiny.PROMPT] * 2, generator=torch.Generator().manual_seed(3), **call)


@pytest.mark.parametrize("kind, exact", [("pt", 1e-6), ("np", 1e-6), ("pil", 0.51 / 255), ("latent", 1e-5)])
def test_every_output_type_gives_the_same_images(pipe, kind, exact):
    expected = generate(pipe, "pt").images
    with torch.no_grad():
        for returned in (generate(pipe, kind), generate(pipe, kind, return_dict=False)):
            made = images_of(returned, decoder(pipe.vae)).clamp(0, 1)
            torch.testing.assert_close(made, expected, atol=exact, rtol=0)


def test_images_are_exchanged_one_by_one_with_what_was_said_of_them():
    for mine, theirs in (
        (torch.zeros(3, 3, 2, 2), torch.ones(3, 3, 2, 2)),
        (np.zeros((3, 2, 2, 3)), np.ones((3, 2, 2, 3))),
        ([0, 0, 0], [1, 1, 1]),
    ):
        output = StableDiffusionPipelineOutput(images=mine, nsfw_content_detected=[False] * 3)
        other = StableDiffusionPipelineOutput(images=theirs, nsfw_content_detected=[True] * 3)
        made = exchange(output, other, [False, True, False])
        assert [float(np.asarray(image).flat[0]) for image in made.images] == [0, 1, 0]
        assert made.nsfw_content_detected == [False, True, False] and made is output
        images, said = exchange((mine, None), (theirs, None), [True, False, True])
        assert [float(np.asarray(image).flat[0]) for image in images] == [1, 0, 1] and said is None


def test_an_image_by_another_name_is_found_and_exchanged_under_both():
    output, other = (with_images(KandinskyImagePipelineOutput(image=torch.full((1, 3, 2, 2), value))) for value in (0.0, 1.0))
    assert output.images is output.image
    made = exchange(output, other, [True])
    assert made.image is made.images and torch.equal(made.images, other.images)


@pytest.mark.parametrize("generators", [None, 1, 2])
def test_the_same_noise_comes_again(generators):
    made = [torch.Generator().manual_seed(i) for i in range(generators or 0)]
    given = None if generators is None else made[0] if generators == 1 else made

    def draw():
        return [torch.randn(3, generator=g) for g in made] or [torch.randn(3)]

    noise = Noise(given)
    first = draw()
    noise.rewind()
    assert all(torch.equal(a, b) for a, b in zip(first, draw(), strict=True))


def test_an_alpha_channel_is_left_out():
    images = torch.rand(2, 4, 8, 8)
    for returned in (images, images.permute(0, 2, 3, 1).numpy()):
        assert torch.equal(images_of((returned,), decoder(tiny.vae()), channels=4), images[:, :3])
    vae, z = flows.qwen_image21().vae, torch.randn(1, 4, 2, 2)
    with torch.no_grad():
        whole = vae.decode((z * torch.tensor(vae.config.latents_std).view(1, 4, 1, 1) + 0.1).unsqueeze(2)).sample[:, :, 0]
        assert whole.shape == (1, 4, 32, 32)
        torch.testing.assert_close(decoder(vae)(z), whole[:, :3] / 2 + 0.5)
