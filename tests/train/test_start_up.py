from vigor_jax.train.start_up import StartUp


def test_every_second_belongs_to_a_stage(caplog):
    times = iter([10.0, 12.5, 13.0, 99.0, 100.0])
    caplog.set_level("INFO")
    start_up = StartUp(lambda: next(times))
    start_up.ended("data")
    start_up.ended("state")
    start_up.tell("first step")
    start_up.ended("program")  # another one, later
    start_up.tell("first step")
    assert caplog.messages == ["The first step was done after 1 min 29 s: data 2.5 s, state 0.5 s, first step 86.0 s."]
