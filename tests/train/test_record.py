"""What may change between two starts of a run, and what may not."""

import dataclasses

import pytest

from vigor_jax.train import record
from vigor_jax.workdir.errors import ResumeError


def test_how_a_batch_is_encoded_may_change_and_is_told(toy_config, toy_task):
    before, task = toy_config(), toy_task()
    model = dataclasses.replace(before.model, remat=True)
    now = record.make(dataclasses.replace(before, micro_batch_size=2, model=model), task)
    stored = record.make(before, task)
    record.require_resumable(stored, now, "The checkpoint of step 3")
    assert record.differences(stored, now) == []
    assert record.changes(stored, now) == ["config.model.remat: False -> True", "config.micro_batch_size: 0 -> 2"]
    # As of a checkpoint from before there were micro-batches.
    del stored["config"]["micro_batch_size"]
    record.require_resumable(stored, now, "The checkpoint of step 3")


def test_the_batches_may_not(toy_config, toy_task):
    before = toy_config()
    now = dataclasses.replace(before, batch=dataclasses.replace(before.batch, size=2 * before.batch.size))
    size = before.batch.size
    with pytest.raises(ResumeError, match=rf"config\.batch\.size: {size} in the checkpoint, {2 * size} now"):
        record.require_resumable(record.make(before, toy_task()), record.make(now, toy_task()), "The checkpoint")
