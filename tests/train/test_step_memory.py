import pytest

from vigor_jax import config as configs
from vigor_jax.train import too_little_memory
from vigor_jax.train.memory import Limit
from vigor_jax.train.step_memory import StepMemory

GIB = 1 << 30


@pytest.fixture
def memory():
    state = {"parameters": GIB // 8, "optimiser": GIB // 4}
    return StepMemory(state, batch=GIB // 32, temporaries=20 * GIB, results=4, program=0)


def test_in_words(memory):
    assert memory.sentence(Limit(140 * GIB, is_shared=False)) == (
        "Memory of a step on each device: 20.5 GiB of 140.0 GiB: parameters 128 MiB, optimiser 256 MiB, "
        "5 batches 160 MiB, temporaries 20.0 GiB."
    )
    assert "20.5 GiB of 8.0 GiB (its share of this host's): " in memory.sentence(Limit(8 * GIB, is_shared=True))
    assert "each device: 20.5 GiB: parameters" in memory.sentence(None)


def test_a_step_that_cannot_fit_is_refused_with_the_keys_that_make_it_smaller(memory, toy_config):
    config = toy_config(micro_batch_size=4)
    too_little_memory.require_room(memory, Limit(memory.step, is_shared=False), config)
    too_little_memory.require_room(memory, None, config)  # the backend does not say
    too_little_memory.require_room(memory, Limit(GIB, is_shared=True), config)  # the host may swap
    with pytest.raises(too_little_memory.TooLittleMemory) as error:
        too_little_memory.require_room(memory, Limit(memory.step - 1, is_shared=False), config)
    for part in (
        "does not hold a step",
        "temporaries 20.0 GiB",
        "config.model.remat=True (now False)",
        "config.micro_batch_size (now 4 pairs encoded at a time)",
        "config.batch.size (now 8)",
    ):
        assert part in str(error.value)


def test_a_backbone_that_normalises_by_the_batch_cannot_be_encoded_in_parts(toy_config):
    advice = too_little_memory.advice(toy_config(model={"aggregation": "safa", "backbone": "mobilenet_0.5"}))
    assert "config.model.remat=True" in advice
    assert "micro_batch_size" not in advice


def test_a_run_on_single_photos_is_told_the_keys_that_it_has():
    tree = {"name": "photos", "task": "classification", "epochs": 1, "batch": {"size": 6}}
    groups = {"images": {"name": "grocery", "crop": 96}, "classifier": {"backbone": "vgg11"}}
    advice = too_little_memory.advice(configs.parse(tree | groups))
    assert "config.batch.size (now 6): fewer; another result" in advice
    assert "config.images.crop (now 96)" in advice
    assert "config.model" not in advice
    assert "micro_batch_size" not in advice
