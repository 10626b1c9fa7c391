"""A signal at any moment ends with a checkpoint, from which the run goes on as if it had never been sent."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest

from vigor_jax import tasks
from vigor_jax.errors import Preempted
from vigor_jax.parallel import mesh as meshes
from vigor_jax.train import loop, preemption
from vigor_jax.train import optimizer as optimizers
from vigor_jax.train import state as states
from vigor_jax.train.checkpoint import Checkpoints

SCORES = (0.1, 0.9, 0.3)  # of the evaluations after steps 4, 8 and 12
PROMISE = "SIGTERM: the step under way is finished and saved; a second signal ends at once."


@pytest.fixture
def send(monkeypatch):
    """`(signal)`: sends it to this process and returns when the run has taken note."""
    entered = []

    class Observed(preemption.StopSignals):
        def __enter__(self):
            entered.append(self)
            return super().__enter__()

    monkeypatch.setattr(loop, "StopSignals", Observed)

    def send(signum=signal.SIGTERM):
        os.kill(os.getpid(), signum)
        deadline = time.monotonic() + 10
        while entered[-1]._received is None and time.monotonic() < deadline:
            time.sleep(0.001)

    return send


def final_state(workdir, task, config):
    into = states.abstract(task, optimizers.create(config.optimizer), config.seed, meshes.data_mesh())
    with Checkpoints(workdir / "checkpoints", newest=3, selection_metric=task.selection_metric) as checkpoints:
        return jax.device_get(checkpoints.restore(checkpoints.latest(), into))


def evaluations(workdir):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if "epoch" in row]


@pytest.fixture(scope="module")
def unbroken(toy_task, toy_config, toy_entry, tmp_path_factory):
    """`(workdir, summary, evaluated steps)` of three epochs of the toy that nothing interrupts."""
    directory, task = tmp_path_factory.mktemp("unbroken"), toy_task(scores=list(SCORES))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tasks.REGISTRY, "toy", toy_entry(lambda config: task))
        return directory, loop.train_and_evaluate(toy_config(epochs=3), directory), task.evaluated_steps


@pytest.mark.parametrize("when", ["training", "evaluating", "saving", "evaluating last"])
def test_a_stopped_run_goes_on_to_the_same_end(
    toy_task, toy_config, register_toy, send, unbroken, tmp_path, capsys, monkeypatch, when
):
    config = toy_config(epochs=3)

    class Stopped(toy_task):
        def take_feedback(self, step, feedback):
            if when == "training" and step == 4:
                send()

        def evaluate(self, variables, mesh, should_stop):
            if len(self.evaluated_steps) == {"evaluating": 0, "evaluating last": 2}.get(when):
                send(signal.SIGINT)
                self.evaluation_batches = 1
            return super().evaluate(variables, mesh, should_stop)

    class StoppedWhileSaving(Checkpoints):
        def save(self, step, *arguments, **named):
            super().save(step, *arguments, **named)
            if when == "saving" and step == 6:
                send()

    monkeypatch.setattr(loop, "Checkpoints", StoppedWhileSaving)
    handlers = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    register_toy(Stopped(scores=list(SCORES)))
    with pytest.raises(Preempted) as stop:
        loop.train_and_evaluate(config, tmp_path)
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == handlers

    step = {"training": 5, "evaluating": 4, "saving": 6, "evaluating last": 12}[when]
    name = "SIGINT" if when.startswith("evaluating") else "SIGTERM"
    folder = tmp_path / ("checkpoints" if when == "saving" else "checkpoints_interrupted")
    assert str(stop.value).startswith(f"Stopped by {name} after step {step} of 12, saved in {folder / str(step)}.")
    assert preemption.resume_command() in str(stop.value)
    assert PROMISE.replace("SIGTERM", name) in capsys.readouterr().err
    assert (folder / str(step)).is_dir()
    assert (tmp_path / "checkpoints_interrupted").exists() == (when != "saving")
    done = len(evaluations(tmp_path)) if (tmp_path / "metrics.jsonl").exists() else 0
    assert done == {"training": 1, "evaluating": 0, "saving": 1, "evaluating last": 2}[when]

    directory, summary, evaluated_steps = unbroken
    resumed = toy_task(scores=list(SCORES[done:]))
    register_toy(resumed)
    monkeypatch.setattr(loop, "Checkpoints", Checkpoints)
    again = loop.train_and_evaluate(config, tmp_path)
    assert resumed.evaluated_steps == evaluated_steps[done:]
    assert (again["metrics"], again["best"]) == (summary["metrics"], summary["best"])
    assert evaluations(tmp_path) == evaluations(directory)
    assert not (tmp_path / "checkpoints_interrupted").exists()
    jax.tree.map(
        np.testing.assert_array_equal,
        final_state(tmp_path, resumed, config),
        final_state(directory, resumed, config),
    )


def test_a_stop_in_what_is_measured_at_the_end_leaves_the_evaluation_to_the_next_start(
    toy_task, toy_config, register_toy, send, tmp_path
):
    class Stopped(toy_task):
        def evaluate_at_end(self, variables, mesh, should_stop):
            send()
            return super().evaluate_at_end(variables, mesh, should_stop)

    config, at_end = toy_config(epochs=2), frozenset({"validation/dense_top1"})
    register_toy(Stopped(metrics_at_end=at_end))
    with pytest.raises(Preempted, match="after step 8 of 8"):
        loop.train_and_evaluate(config, tmp_path)
    assert [row["step"] for row in evaluations(tmp_path)] == [4]
    task = toy_task(metrics_at_end=at_end)
    register_toy(task)
    metrics = loop.train_and_evaluate(config, tmp_path)["metrics"]
    assert (task.evaluated_steps, task.ended_steps) == ([8], [8])
    assert (metrics["validation/top1"], metrics["validation/dense_top1"]) == (0.5, 8)
    assert [row["step"] for row in evaluations(tmp_path)] == [4, 8]


def test_a_stop_in_the_evaluation_that_goes_on_saves_nothing_anew(toy_task, toy_config, register_toy, send, tmp_path):
    class Stopped(toy_task):
        def evaluate(self, variables, mesh, should_stop):
            send()
            return super().evaluate(variables, mesh, should_stop)

    written = []
    for _ in range(2):
        register_toy(Stopped(evaluation_batches=1))
        with pytest.raises(Preempted, match="after step 4 of 12"):
            loop.train_and_evaluate(toy_config(epochs=3), tmp_path)
        written.append((tmp_path / "checkpoints_interrupted" / "4").stat().st_mtime_ns)
    assert written[0] == written[1]


def test_a_signal_during_the_report_lets_it_end(toy_task, toy_config, register_toy, send, tmp_path, capsys):
    class Stopped(toy_task):
        def report(self, workdir):
            send()
            return super().report(workdir)

    register_toy(Stopped())
    summary = loop.train_and_evaluate(toy_config(epochs=1), tmp_path)
    assert summary["steps"] == 4
    assert (tmp_path / "report.html").exists()
    assert "SIGTERM: the report is finished, which ends the run" in capsys.readouterr().err


@pytest.mark.parametrize(("signum", "kind"), [(signal.SIGTERM, Preempted), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_while_data_is_prepared_ends_at_once(toy_config, toy_entry, monkeypatch, tmp_path, signum, kind):
    def prepare(config):
        os.kill(os.getpid(), signum)
        time.sleep(10)
        raise AssertionError("went on")

    monkeypatch.setitem(tasks.REGISTRY, "toy", toy_entry(prepare))
    with pytest.raises(kind) as stop:
        loop.train_and_evaluate(toy_config(), tmp_path)
    assert type(stop.value) is kind
    assert signum == signal.SIGINT or "before training began" in str(stop.value)


def test_in_another_thread_nothing_is_caught():
    entered = []

    def run():
        with preemption.StopSignals() as signals:
            signals.defer(meshes.data_mesh())
            entered.append(signals.should_stop())

    handler = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert entered == [False]
    assert signal.getsignal(signal.SIGTERM) is handler


def test_ignored_signals_stay_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with preemption.StopSignals() as signals:
            signals.defer(meshes.data_mesh())
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_hosts_agree_some_polls_later():
    agreement = preemption._Agreement(meshes.data_mesh())
    assert [agreement.poll(own) for own in (False, False, True, True, False, False)] == [False] * 4 + [True] * 2


def test_the_command_is_quoted_for_a_shell(monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", ["python", "main.py", "--workdir=my runs/a'b"])
    assert shlex.split(preemption.resume_command()) == sys.orig_argv


# ---- In processes of their own ----


def wait_for(condition, process):
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def read_until(process, text):
    """The lines of standard error up to the one with the text."""
    lines = []
    for line in process.stderr:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError("".join(lines))


def test_while_compiling_and_the_printed_command(start_toy, tmp_path):
    process = start_toy(tmp_path / "a run", signs=tmp_path)
    wait_for((tmp_path / "compiling").exists, process)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)  # the same one, delivered twice
    _, log = process.communicate(timeout=120)
    assert process.returncode == 75, log
    assert PROMISE in log
    stop = re.search(r"^Stopped by SIGTERM after step (\d+) of 60, saved in (.*)\. To go on:\n  (.*)$", log, re.M)
    assert stop, log
    assert (tmp_path / "a run" / "checkpoints_interrupted" / stop[1]).samefile(stop[2])
    assert int(stop[1]) < 10
    assert "Traceback" not in log

    done = subprocess.run(
        stop[3], shell=True, env=start_toy.environment(), cwd=start_toy.directory, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"Going on from step {stop[1]}." in done.stderr
    assert json.loads((tmp_path / "a run" / "summary.json").read_text())["steps"] == 60


def test_a_second_signal_ends_at_once(start_toy, toy_task, tmp_path):
    process = start_toy(tmp_path / "run", batch_seconds=1000.0)
    read_until(process, "toy: 60 steps")
    process.send_signal(signal.SIGTERM)
    read_until(process, PROMISE)  # though the main thread waits for a batch
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    assert process.wait(timeout=60) == 128 + signal.SIGINT
    assert time.monotonic() - started < 10
    assert "SIGINT again: ended at once." in process.stderr.read()
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []


def test_two_hosts_stop_after_the_same_step(start_toy, toy_task, toy_config, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    workdir = tmp_path / "run"
    flags = ["--distributed=on", f"--coordinator_address={address}", "--num_processes=2", "--profile"]
    hosts = [start_toy(workdir, *flags, f"--process_id={i}", devices=1, batch_seconds=0.2) for i in range(2)]
    # The first host alone leaves a trace, of a machine of which both might write one.
    wait_for(lambda: list(workdir.glob("profile/plugins/profile/*/perfetto_trace.json.gz")), hosts[0])
    hosts[1].send_signal(signal.SIGTERM)
    logs = [host.communicate(timeout=120)[1] for host in hosts]
    assert [host.returncode for host in hosts] == [75, 75], logs
    first = re.search(r"Stopped by a signal to another host after step (\d+) of 60, saved in ", logs[0])
    assert first, logs[0]
    assert f"[host 1] Stopped by SIGTERM after step {first[1]} of 60, with all other hosts." in logs[1]
    assert PROMISE in logs[1]
    assert f"Profile of steps 4 to 7 (5 were wanted, but then came the checkpoint of step 7): {workdir}" in logs[0]
    assert len(list(workdir.rglob("*.xplane.pb"))) == 1
    (saved,) = (workdir / "checkpoints_interrupted").iterdir()
    assert saved.name == first[1]
    with Checkpoints(workdir / "checkpoints", newest=3, selection_metric=toy_task.selection_metric) as checkpoints:
        into = states.abstract(toy_task(), optimizers.create(toy_config().optimizer), 0, meshes.data_mesh())
        restored = checkpoints.restore_newest(into, {}, lambda step, record: None)
    assert int(restored.state.step) == restored.step == int(first[1])
    assert restored.interrupted
