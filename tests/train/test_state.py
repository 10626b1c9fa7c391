import jax
import numpy as np
import optax
import pytest

from vigor_jax.parallel import mesh as meshes
from vigor_jax.train import state as states


@pytest.mark.parametrize("seed", [0, 7, 2**31, 2**32 - 1])
def test_the_first_state_is_drawn_from_the_seed_by_the_documented_fold(toy_task, seed):
    keys = []

    class Seen(toy_task):
        def init(self, key):
            keys.append(key)
            return super().init(key)

    mesh = meshes.data_mesh(jax.devices()[:1])
    state = states.create(Seen(), optax.sgd(1.0), seed, mesh)
    expected = jax.random.fold_in(jax.random.key(seed), 0)
    np.testing.assert_array_equal(jax.random.key_data(keys[0]), jax.random.key_data(expected))
    theirs = toy_task().init(expected)["params"]
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state.params), jax.device_get(theirs))
    described = states.abstract(toy_task(), optax.sgd(1.0), seed, mesh)
    assert jax.tree.map(lambda leaf: leaf.shape, described) == jax.tree.map(lambda leaf: leaf.shape, state)
