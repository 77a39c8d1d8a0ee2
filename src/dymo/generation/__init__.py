"""One call of an aligner on one pipeline: what surrounds the algorithm of `methods/dymo.py`.

call.py: the call from start to end. aims.py: what it lowers and watches. scouts.py, beginning.py: the seeds it begins, and the one that goes on.
rehearsal.py: what is compiled before step 1. recorder.py: its trace. effect.py, lost.py: whether it moved anything, or too much.
"""
