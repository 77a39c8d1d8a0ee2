"""From predictions to a move of the latents: the paper's parts, one a file, over any loop (`loop.py`) and without diffusers.

schedule.py: stages and the weight w. objectives.py: L_A and L_R. gradient.py: of their weighted sum. step.py: how far z_{t-1} moves.
recurrence.py, levels.py: time travel. observer.py: what a run tells. views.py, watch.py: augmentations; held-out rewards.
"""
