"""What may change between two starts of a run, what may not, and what the first one tells the others."""

import dataclasses
import json

import pytest

from vigor_jax import tasks
from vigor_jax.workdir import provenance, seal
from vigor_jax.workdir.errors import ResumeError

FINGERPRINT = {"data": "toy"}


@pytest.fixture
def before():
    """A config of a run."""
    return tasks.parse(
        {
            "name": "toy",
            "task": "cross_view",
            "epochs": 2,
            "data": {"name": "toy", "train_cities": ("Toytown",), "protocols": ("same_area",)},
            "model": {"aggregation": "safa"},
            "batch": {"size": 8},
        }
    )


def test_how_a_batch_is_encoded_may_change_and_is_told(before):
    model = dataclasses.replace(before.model, remat=True)
    now = provenance.make(dataclasses.replace(before, micro_batch_size=2, model=model), FINGERPRINT, {})
    stored = provenance.make(before, FINGERPRINT, {})
    provenance.require_resumable(stored, now, "The checkpoint of step 3")
    assert provenance.differences(stored, now) == []
    assert provenance.changes(stored, now) == ["config.micro_batch_size: 0 -> 2", "config.model.remat: False -> True"]
    # As of a checkpoint from before there were micro-batches.
    del stored["config"]["micro_batch_size"]
    provenance.require_resumable(stored, now, "The checkpoint of step 3")


def test_the_batches_may_not(before):
    now = dataclasses.replace(before, batch=dataclasses.replace(before.batch, size=16))
    stored, current = provenance.make(before, FINGERPRINT, {}), provenance.make(now, FINGERPRINT, {})
    with pytest.raises(ResumeError, match=r"config\.batch\.size: 8 in the checkpoint, 16 now"):
        provenance.require_resumable(stored, current, "The checkpoint")


def test_keys_that_a_task_never_read_may_be_gone_from_its_config():
    """As of checkpoints from before each task had keys of its own, whose fingerprints have them too."""
    tree = {
        "name": "photos",
        "task": "classification",
        "epochs": 1,
        "images": {"name": "grocery"},
        "classifier": {"backbone": "vgg11"},
        "batch": {"size": 8},
    }
    now = provenance.make(tasks.parse(tree), FINGERPRINT | {"batch": {"size": 8}}, {})
    once = {"size": 8, "one_city": False}
    stored = now | {"config": now["config"] | {"batch": once}, "fingerprint": FINGERPRINT | {"batch": once}}
    provenance.require_resumable(stored, now, "The checkpoint of step 3")
    assert provenance.changes(stored, now) == ["config.batch.one_city: False -> None"]
    stored["fingerprint"] = FINGERPRINT | {"batch": once | {"size": 4}}
    with pytest.raises(ResumeError, match=r"config\.batch\.size: 4 in the checkpoint, 8 now"):
        provenance.require_resumable(stored, now, "The checkpoint of step 3")


def test_what_was_resolved_is_that_of_the_newest_checkpoint_that_can_be_read(tmp_path):
    def write(folder, step, **record):
        path = tmp_path / folder / str(step) / "record" / "metadata"
        path.parent.mkdir(parents=True)
        made = seal.to_json(seal.Seal(record, None, {}, {}, {}, {}))
        path.write_text(json.dumps(made))
        return path

    assert provenance.resolved(tmp_path) == {}
    write("checkpoints", 7)  # of a run from before it was stored
    assert provenance.resolved(tmp_path) == {}
    write("checkpoints", 8, resolved={"preprocessing": "tf"})
    write("checkpoints", 10, resolved={"preprocessing": "caffe"})
    stopped = write("checkpoints_interrupted", 11, resolved={"preprocessing": "torchvision"})
    assert provenance.resolved(tmp_path) == {"preprocessing": "torchvision"}
    stopped.write_text("{")
    assert provenance.resolved(tmp_path) == {"preprocessing": "caffe"}
