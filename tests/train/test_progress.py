import os
import sys
import termios

import pytest

from vigor_jax.train.progress import Progress, StartUpTimes, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185.0, "3 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7800.0, "2 h 10 min"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_a_line_an_interval_where_there_is_no_terminal(caplog):
    with caplog.at_level("INFO"), Progress(100, 0, show=True) as progress:
        progress.advance()
        progress.report(50, 2, loss=0.25, examples_per_s=123.4, wait=0.031, left_s=75.0)
    assert caplog.messages == ["step 50/100, epoch 2: loss 0.2500, 123.4 examples/s, data wait 3%, 1 min 15 s left"]


@pytest.fixture
def terminal(monkeypatch):
    """`(rows, columns) -> read`: standard error becomes a terminal; `read()` is what it was sent."""
    ours, theirs = os.openpty()
    stream = os.fdopen(theirs, "w")

    def open_terminal(rows, columns):
        termios.tcsetwinsize(theirs, (rows, columns))
        monkeypatch.setattr(sys, "stderr", stream)
        return read

    def read():
        print("END", file=stream, flush=True)
        sent = b""
        while b"END" not in sent:
            sent += os.read(ours, 100_000)
        return sent.decode()

    yield open_terminal
    stream.close()
    os.close(ours)


def test_a_bar_on_a_terminal(terminal, caplog):
    read = terminal(24, 120)
    with caplog.at_level("INFO"), Progress(100, 49, show=True) as progress:
        progress.advance()
        progress.report(50, 2, loss=0.25, examples_per_s=123.4, wait=0.031, left_s=75.0)
        progress.note("evaluating")
        sent = read()
    assert "50/100, epoch 2, loss 0.2500, 123.4 examples/s, data wait 3%, 1 min 15 s left" in sent
    assert "50/100, evaluating" in sent
    assert caplog.messages == []


def test_lines_on_a_terminal_without_size(terminal, caplog):
    terminal(0, 0)
    with caplog.at_level("INFO"), Progress(100, 49, show=True) as progress:
        progress.advance()
        progress.report(50, 2, loss=0.25, examples_per_s=123.4, wait=0.031, left_s=75.0)
    assert len(caplog.messages) == 1


def test_other_hosts_show_nothing(caplog):
    with caplog.at_level("INFO"), Progress(100, 0, show=False) as progress:
        progress.report(50, 2, loss=0.25, examples_per_s=123.4, wait=0.031, left_s=75.0)
    assert caplog.messages == []


def test_every_second_belongs_to_a_stage(caplog):
    times = iter([10.0, 12.5, 13.0, 99.0, 100.0])
    caplog.set_level("INFO")
    start_up = StartUpTimes(lambda: next(times))
    start_up.ended("data")
    start_up.ended("state")
    start_up.tell("first step")
    start_up.ended("program")  # another one, later
    start_up.tell("first step")
    assert caplog.messages == ["The first step was done after 1 min 29 s: data 2.5 s, state 0.5 s, first step 86.0 s."]
