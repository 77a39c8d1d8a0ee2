"""The user's diffusers pipeline, steered from outside: nothing of it is rewritten, and all is put back after a run.

loop.py: its own loop, as one that waits; inside.py: what the pipeline meets in it; latents.py, encoding.py: what it starts from.
evaluation.py: one evaluation; way_back.py: its gradient. families/: what is special to an architecture. schedulers/: to a sampler.
taps.py, kernel.py: attention maps. decode.py: predictions as images. checks.py, hold.py: what is refused, and restored.
compiled.py, graphed.py, attention.py, block.py: the same in less time.
"""
