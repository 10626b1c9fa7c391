import ctypes
import logging
import re
import threading

import jax
import jax.numpy as jnp
import pytest

from vigor_jax.train.loop import train_and_evaluate
from vigor_jax.train.stall_watch import StallWatch


class Clock:
    """Seconds that pass only when they are told to."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def watched(caplog):
    """(watch of 60 s whose thread does not run, its clock, the times at which stacks were printed)."""
    clock, printed = Clock(), []
    with caplog.at_level("WARNING"):
        yield StallWatch(60, clock=clock, print_stacks=lambda: printed.append(clock.seconds)), clock, printed


def test_a_stall_is_told_once_and_so_is_its_end(watched, caplog):
    watch, clock, printed = watched
    for step in range(1, 4):
        watch.alive(f"running step {step}")
        clock.seconds += 59
        watch.check()
    assert caplog.messages == printed == []
    watch.alive("waiting for the data of step 4")
    for _ in range(20):
        clock.seconds += 15
        watch.check()
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("No sign of life for 1 min 00 s while waiting for the data of step 4.")
    assert printed == [3 * 59 + 60]
    clock.seconds += 0.4
    watch.alive("running step 4")
    watch.alive("waiting for the data of step 5")
    assert caplog.messages[1:] == ["Going on after 5 min 00 s of waiting for the data of step 4."]
    clock.seconds += 61
    watch.check()
    assert "waiting for the data of step 5" in caplog.messages[2]
    assert len(printed) == 2


def test_a_sign_of_life_from_a_signal_handler_amid_a_report(caplog):
    """The same thread may be in the watch twice."""
    watch = StallWatch(1, clock=(clock := Clock()), print_stacks=lambda: watch.alive("stopping"))
    clock.seconds = 2
    with caplog.at_level("WARNING"):
        watch.check()
    assert [message.split()[0] for message in caplog.messages] == ["No", "Going"]


def wait_until_written(capfd, pattern, busy, rounds=100):
    """Keeps busy until standard error shows the pattern; returns all of it."""
    text = ""
    for _ in range(rounds):
        busy()
        text += capfd.readouterr().err
        if re.search(pattern, text):
            return text
    raise AssertionError(text)


def test_stacks_while_the_main_thread_is_in_compiled_code(capfd, caplog):
    @jax.jit
    def much_work(x):
        return jax.lax.fori_loop(0, 300, lambda _, x: jnp.tanh(x @ x), x)

    argument = jnp.ones((64, 64))
    much_work(argument).block_until_ready()
    there, release = threading.Event(), threading.Event()

    def sit_still():
        there.set()
        release.wait()

    other = threading.Thread(target=sit_still, name="idle-reader")
    other.start()
    there.wait()
    try:
        with caplog.at_level("WARNING"), StallWatch(0.1) as watch:
            watch.alive("running step 7")
            text = wait_until_written(
                capfd, r"most recent call first[^$]*sit_still", lambda: much_work(argument).block_until_ready(), 1000
            )
            watch.alive("running step 8")
    finally:
        release.set()
        other.join()
    assert re.search(r"Threads: .*MainThread.*, 0x[0-9a-f]{16} idle-reader, .*stall-watch", text)
    assert "test_stacks_while_the_main_thread_is_in_compiled_code" in text
    assert len(caplog.messages) == 2
    assert "running step 7" in caplog.messages[0]
    assert caplog.messages[1].startswith("Going on after")


def test_stacks_while_the_interpreter_itself_is_kept(capfd):
    """By C code that does not release it: no Python thread can run, and the second clock prints."""
    usleep = ctypes.PyDLL(None).usleep
    with StallWatch(0.1):
        text = wait_until_written(capfd, r"Timeout \(0:00:00\.1", lambda: usleep(300_000))
    assert "test_stacks_while_the_interpreter_itself_is_kept" in text
    assert "Threads: " not in text.split("Timeout")[0]


def test_nothing_is_left_behind(capfd):
    before = threading.active_count()
    with StallWatch(0.05):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
    with StallWatch(0) as watch:
        watch.alive("running step 1")
        assert threading.active_count() == before
    assert not threading.Event().wait(0.1)
    assert capfd.readouterr().err == ""


class Until(logging.Handler):
    """Sets an event when something is logged."""

    def __init__(self, text):
        super().__init__()
        self.text, self.seen = text, threading.Event()

    def emit(self, record):
        if self.text in record.getMessage():
            self.seen.set()


def test_a_run_whose_reading_stalls_says_so_and_goes_on(toy_task, toy_config, register_toy, tmp_path, caplog):
    reported = Until("while waiting for the data of step 6.")

    class Stalling(toy_task):
        def batch(self, step):
            if step == 5:
                assert reported.seen.wait(60)
            return super().batch(step)

    register_toy(Stalling())
    logging.getLogger("absl").addHandler(reported)
    try:
        with caplog.at_level("WARNING"):
            summary = train_and_evaluate(toy_config(stall_seconds=0.2), tmp_path)
    finally:
        logging.getLogger("absl").removeHandler(reported)
    assert summary["steps"] == 8
    assert any(text.endswith("of waiting for the data of step 6.") for text in caplog.messages)
