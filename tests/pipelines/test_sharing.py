"""Components that two pipelines share, and callers that come while a run has them."""

from __future__ import annotations

import threading

import pytest
import tiny
import torch
from diffusers import StableDiffusionPipeline

from dymo import DyMO, PipelineError

CALL = dict(tiny.SMALL)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def sharing(pipe):
    """Another pipeline object with the same components."""
    other = StableDiffusionPipeline(**pipe.components, requires_safety_checker=False)
    other.set_progress_bar_config(disable=True)
    return other


def test_p1_two_pipelines_that_share_a_unet_in_two_threads_equal_their_single_runs():
    pipe = tiny.sd()
    other = sharing(pipe)
    aligner = DyMO(tiny.brightness, recurrences=1)
    single = [aligner(p, tiny.PROMPT, generator=generator(i), **CALL).images for i, p in enumerate((pipe, other))]
    found, barrier = {}, threading.Barrier(2)

    def run(i, p):
        barrier.wait()
        found[i] = aligner(p, tiny.PROMPT, generator=generator(i), **CALL).images

    threads = [threading.Thread(target=run, args=(i, p)) for i, p in enumerate((pipe, other))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert all(torch.equal(found[i], single[i]) for i in range(2))


def test_p1_a_plain_call_in_another_thread_is_told_that_the_pipeline_is_in_use():
    pipe = tiny.sd()
    other, said = sharing(pipe), []

    def meanwhile(_pipe, index, _t, found):
        def call():
            try:
                other(tiny.PROMPT, generator=generator(1), **CALL)
            except PipelineError as error:
                said.append(str(error))

        thread = threading.Thread(target=call)
        thread.start()
        thread.join(60)
        return found

    aligner = DyMO(tiny.brightness, recurrences=1)
    alone = aligner(pipe, tiny.PROMPT, generator=generator(), **CALL).images
    disturbed = aligner(pipe, tiny.PROMPT, generator=generator(), callback_on_step_end=meanwhile, **CALL).images
    assert len(said) == 4 and "in use" in said[0]
    assert torch.equal(alone, disturbed)


def test_p1_the_aligner_inside_its_own_callback_does_not_wait_for_itself():
    pipe = tiny.sd()
    aligner = DyMO(tiny.brightness, recurrences=0)

    def again(pipe, index, t, found):
        aligner(pipe, tiny.PROMPT, **CALL)
        return found

    with pytest.raises(PipelineError, match="in use"):
        aligner(pipe, tiny.PROMPT, callback_on_step_end=again, **CALL)

    def plainly(pipe, index, t, found):
        pipe(tiny.PROMPT, **CALL)
        return found

    with pytest.raises(PipelineError, match="in use"):
        aligner(pipe, tiny.PROMPT, callback_on_step_end=plainly, **CALL)
    aligner(pipe, tiny.PROMPT, **CALL)


@pytest.mark.filterwarnings("ignore:.*callback:FutureWarning")
def test_the_callback_of_old_is_the_user_s_code_too():
    pipe, seen = tiny.sd(), []
    nothing = DyMO(None, semantic_weight=0)  # parameters are not frozen for it

    def look(index, t, latents):
        seen.append(pipe.vae.decode(latents).sample.numpy())

    def inside(index, t, latents):
        pipe.unet(latents, t, torch.zeros(1, 5, 32))

    nothing(pipe, tiny.PROMPT, callback=look, callback_steps=2, **CALL)
    assert len(seen) == 2
    with pytest.raises(PipelineError, match="in use"):
        nothing(pipe, tiny.PROMPT, callback=inside, callback_steps=1, **CALL)


def test_c8_a_run_is_cancelled_from_outside():
    pipe, cancel, seen = tiny.sd(), threading.Event(), []

    def listen(event):
        seen.append(type(event).__name__)
        if seen.count("Accepted") == 2:
            cancel.set()

    output = DyMO(tiny.brightness, recurrences=0)(
        pipe, tiny.PROMPT, generator=generator(), listeners=[listen], cancel=cancel, **CALL
    )
    assert output.trace.cancelled and len(output.trace.steps) == 2 and seen[-2:] == ["Cancelled", "Finished"]
    assert output.images.isfinite().all()


def test_a_failed_run_is_told():
    seen = []

    def breaks(images, prompts):
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        DyMO(breaks)(tiny.sd(), tiny.PROMPT, listeners=[seen.append], **CALL)
    assert type(seen[-1]).__name__ == "Failed" and str(seen[-1].error) == "broken"


def test_p6_p13_parameters_are_put_back_by_name_where_an_offload_replaces_them():
    from dymo.pipelines.hold import frozen

    module = torch.nn.Linear(2, 2)
    with frozen([module]):
        assert not module.weight.requires_grad
        module.weight = torch.nn.Parameter(module.weight.detach().clone(), requires_grad=False)
    assert module.weight.requires_grad and module.bias.requires_grad
