"""A profile has the steps it names and nothing else, and leaves the run as it would have been."""

import gzip
import json

import jax
import numpy as np
import pytest

from vigor_jax.train.loop import train_and_evaluate


def events(path):
    with gzip.open(path) as file:
        return json.load(file)["traceEvents"]


def test_a_trace_of_whole_steps_and_the_same_bits(
    toy_task, toy_config, register_toy, without_measured, tmp_path, caplog
):
    ends = []

    class Kept(toy_task):
        def evaluate(self, variables, mesh, should_stop):
            ends.append(jax.device_get(variables))
            return super().evaluate(variables, mesh, should_stop)

    config = toy_config(epochs=1, checkpoint_every_steps=100)
    caplog.set_level("INFO")
    summaries = {}
    for name, profile in (("plain", False), ("profiled", True)):
        register_toy(Kept(steps_per_epoch=10))
        summaries[name] = train_and_evaluate(config, tmp_path / name, profile=profile)
    folder = tmp_path / "profiled" / "profile"
    assert not (tmp_path / "plain" / "profile").exists()
    (session,) = (folder / "plugins" / "profile").iterdir()
    (plane,) = session.glob("*.xplane.pb")
    assert len(plane.read_bytes()) > 1000
    (viewed,) = [path for path in session.glob("*.trace.json.gz") if path.name != "perfetto_trace.json.gz"]
    for path in (viewed, session / "perfetto_trace.json.gz"):
        found = events(path)
        assert sorted(int(event["args"]["step_num"]) for event in found if event.get("name") == "train") == [
            4,
            5,
            6,
            7,
            8,
        ]
        names = {event["name"] for event in found if "name" in event}
        assert any("Execute" in name for name in names), names
        assert not any("compile" in name.lower() for name in names), names
    (said,) = [record.message for record in caplog.records if record.message.startswith("Profile of")]
    assert said.startswith(f"Profile of steps 4 to 8: {folder}\n")
    assert f"pip install xprof; xprof --logdir={folder} --port=8791" in said

    plain, profiled = summaries["plain"], summaries["profiled"]
    for key in ("steps", "metrics", "best", "config"):
        assert plain[key] == profiled[key]
    assert plain["throughput"]["timed_steps"] == profiled["throughput"]["timed_steps"] == 9
    jax.tree.map(np.testing.assert_array_equal, *ends)
    histories = [
        [without_measured(json.loads(line)) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in summaries
    ]
    assert histories[0] == histories[1]


def test_fewer_steps_where_there_are_fewer(toy_task, toy_config, register_toy, tmp_path, caplog):
    """Of a run that is shorter, of one that goes on, and of a complete one."""
    caplog.set_level("INFO")
    for epochs, steps in ((1, [1, 3]), (2, [5, 6])):
        caplog.clear()
        register_toy(toy_task())
        train_and_evaluate(toy_config(epochs=epochs), tmp_path, profile=True)
        (said,) = [record.message for record in caplog.records if record.message.startswith("Profile of")]
        ended = f"5 were wanted, but then came the checkpoint of step {steps[1]}"
        assert said.startswith(f"Profile of steps {steps[0]} to {steps[1]} ({ended}): {tmp_path}/profile\n")
    caplog.clear()
    train_and_evaluate(toy_config(epochs=2), tmp_path, profile=True)
    assert "no step of the run is left" in caplog.text
    (tmp_path / "summary.json").unlink()
    caplog.clear()
    register_toy(toy_task())
    train_and_evaluate(toy_config(epochs=2), tmp_path, profile=True)
    assert "no step of the run is left" in caplog.text


def test_a_run_that_breaks_down_leaves_no_trace_under_way(toy_task, toy_config, register_toy, tmp_path):
    class Broken(toy_task):
        def take_feedback(self, step, feedback):
            if step == 4:
                raise OSError("gone")

    register_toy(Broken(steps_per_epoch=10))
    with pytest.raises(OSError, match="gone"):
        train_and_evaluate(toy_config(checkpoint_every_steps=100), tmp_path, profile=True)
    jax.profiler.start_trace(tmp_path / "another")
    jax.profiler.stop_trace()
