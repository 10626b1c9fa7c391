"""The numbers are those of the pipeline itself, not beside it."""

import runpy
import time

import jax
import numpy as np
import pytest

from vigor_jax.input import pipeline_depth
from vigor_jax.input.device_feed import DeviceFeed
from vigor_jax.input.read_ahead import read_ahead
from vigor_jax.parallel.mesh import data_mesh
from vigor_jax.tasks.cross_view import hard_negatives


def settled(count) -> int:
    """What `count` says once it has stopped to grow."""
    before, since = count(), time.monotonic()
    while time.monotonic() < since + 0.3:
        time.sleep(0.01)
        if count() != before:
            before, since = count(), time.monotonic()
    return before


def test_no_batch_is_planned_further_ahead_than_is_said():
    planned = []

    def plan():
        for step in range(100):
            planned.append(step)
            yield {"step": np.full(1, step)}, [lambda: None]

    with DeviceFeed(read_ahead(plan(), 2), data_mesh(jax.devices()[:1])) as feed:
        for step in range(3):
            assert int(next(feed)["step"][0]) == step
            newest = settled(lambda: planned[-1])
            # In this moment the last steps handed over may be under way, and the one before them is finished.
            finished = step - 1 - pipeline_depth.STEPS_IN_FLIGHT
            assert newest - finished == pipeline_depth.PLANNED_AHEAD


@pytest.mark.parametrize("lag", [1, pipeline_depth.PLANNED_AHEAD])
def test_a_plan_that_would_wait_for_steps_under_way_is_refused(lag):
    smallest = pipeline_depth.PLANNED_AHEAD + 1
    pipeline_depth.require_known_in_time(smallest)
    with pytest.raises(ValueError, match=f"a lag of {lag} steps.* at least {smallest}"):
        pipeline_depth.require_known_in_time(lag)


def test_reading_as_far_ahead_as_mining_looks_back_is_refused_where_mining_is_imported(monkeypatch):
    monkeypatch.setattr(pipeline_depth, "PLANNED_AHEAD", hard_negatives.LAG)
    with pytest.raises(ValueError, match=f"at least {hard_negatives.LAG + 1}, or read less far ahead"):
        runpy.run_path(hard_negatives.__file__)
