from dymo import Config
from dymo.guidance.recurrence import recurrences


def test_dynamic_recurrences_grow_with_the_gradient_up_to_the_cap():
    config = Config(h=(1.0, 1.0, 3.0), max_recurrences=4)
    assert [recurrences(config, "semantic", g) for g in (0.2, 1.0, 2.9, 50.0)] == [0, 1, 2, 4]
    assert recurrences(config, "preference", 1.0) == 3
    assert recurrences(config, "semantic", float("nan")) == recurrences(config, "semantic", float("inf")) == 0
    assert recurrences(Config(recurrences=7), "semantic", 0.0) == 7
    assert recurrences(Config(h=(1.0, 1.0, 3.0), max_recurrences=None), "preference", 50.0) == 150
