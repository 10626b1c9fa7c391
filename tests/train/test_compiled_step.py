import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from vigor_jax.parallel import mesh as meshes
from vigor_jax.train import optimizer as optimizers
from vigor_jax.train import state as states
from vigor_jax.train import step as steps
from vigor_jax.train.compiled_step import CompiledStep


@pytest.fixture
def made(toy_task, toy_config):
    """`(devices) -> (compiled step, plain step, fresh state, batches)` of the toy."""

    def make(devices):
        task, config, mesh = toy_task(), toy_config(), meshes.data_mesh(jax.devices()[:devices])
        optimizer, schedule = optimizers.create(config.optimizer), optimizers.learning_rate(config.optimizer)
        step = steps.make(task, optimizer, schedule, 0, mesh)
        rows = NamedSharding(mesh, PartitionSpec("data"))
        batches = [jax.device_put(task.batch(t), rows) for t in range(3)]
        return CompiledStep(step), step, lambda: states.create(task, optimizer, 0, mesh), batches

    return make


def test_the_program_does_the_steps_of_the_plain_one(made):
    compiled, plain, fresh, batches = made(8)
    ours, theirs = fresh(), fresh()
    assert not compiled.is_compiled_for(batches[0])
    compiled.compile(ours, batches[0])
    assert all(map(compiled.is_compiled_for, batches))
    assert int(ours.step) == 0  # it was not run, and the state is still there
    for batch in batches:
        ours, *ours_rest = compiled(ours, batch)
        theirs, *theirs_rest = plain(theirs, batch)
        jax.tree.map(np.testing.assert_array_equal, (ours, *ours_rest), (theirs, *theirs_rest))
    assert int(ours.step) == 3


def test_each_structure_of_batch_has_a_program_of_its_own(made):
    compiled, _, fresh, (batch, *_) = made(8)
    state = fresh()
    compiled.compile(state, batch)
    others = {
        "another array": batch | {"more": batch["poison"]},
        "one less": {name: batch[name] for name in ("ground", "aerial")},
        "another type": batch | {"poison": batch["poison"].astype(np.int32)},
        "another shape": {name: jnp.concatenate([rows, rows]) for name, rows in batch.items()},
    }
    for other in others.values():
        assert not compiled.is_compiled_for(other)
    with pytest.raises(KeyError):
        compiled(state, others["another array"])
    compiled.compile(state, others["another array"])
    assert compiled.is_compiled_for(batch)
    state, *_ = compiled(state, others["another array"])
    state, *_ = compiled(state, batch)
    assert int(state.step) == 2


def test_a_program_of_an_earlier_start_is_found(made):
    least = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    try:
        earlier, _, fresh, (batch, *_) = made(8)
        state = fresh()
        earlier.compile(state, batch)
        later, *_ = made(8)
        assert later.compile(state, batch).was_kept
        larger = {name: jnp.concatenate([rows, rows]) for name, rows in batch.items()}
        assert not later.compile(state, larger).was_kept
    finally:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", least)


@pytest.mark.parametrize("devices", [1, 8])
def test_memory_is_what_arrays_and_compiler_say(made, devices):
    compiled, plain, fresh, (batch, *_) = made(devices)
    state = fresh()
    memory = compiled.compile(state, batch).memory
    theirs = plain.lower(state, batch).compile().memory_analysis()
    # Float32 throughout but for two counters; Adam has two moments of each parameter, and counters.
    parameters = 4 * (6 * 4 + 5 * 4)
    assert memory.state["parameters"] == parameters + 4 * (4 + 1)
    assert 2 * parameters < memory.state["optimiser"] <= 2 * parameters + 8
    assert "carried from step to step" not in memory.state  # the toy hands nothing on
    assert memory.batch == 8 // devices * (6 + 5 + 1)
    counters = 2 * 4  # steps, and the first that was not finite
    assert sum(memory.state.values()) + memory.batch + counters == theirs.argument_size_in_bytes
    assert memory.temporaries == theirs.temp_size_in_bytes > 0
    # The state is donated: what comes beside it is a handful of scalars.
    assert memory.results == theirs.output_size_in_bytes - theirs.alias_size_in_bytes < 200
    assert memory.step + counters == sum(
        (theirs.argument_size_in_bytes, theirs.temp_size_in_bytes, memory.results, theirs.generated_code_size_in_bytes)
    )
    assert memory.total == memory.step + 4 * memory.batch
