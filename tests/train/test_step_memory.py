import pytest

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


def test_a_step_that_cannot_fit_is_refused_with_the_keys_that_the_task_names(memory, toy_config, toy_task):
    config, task = toy_config(), toy_task()
    too_little_memory.require_room(memory, Limit(memory.step, is_shared=False), config, task)
    too_little_memory.require_room(memory, None, config, task)  # the backend does not say
    too_little_memory.require_room(memory, Limit(GIB, is_shared=True), config, task)  # the host may swap
    with pytest.raises(too_little_memory.TooLittleMemory) as error:
        too_little_memory.require_room(memory, Limit(memory.step - 1, is_shared=False), config, task)
    for part in ("does not hold a step", "temporaries 20.0 GiB", "config.batch.size (now 8): fewer; another result"):
        assert part in str(error.value)

    task.memory_keys = {"optimizer.momentum": "0; no moving mean of the gradients"}
    advice = too_little_memory.advice(config, task)
    assert "  config.optimizer.momentum (now 0.9): 0; no moving mean of the gradients\n" in advice
    assert "batch.size" not in advice
