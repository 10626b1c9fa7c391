"""The cuts of the learning rate: after which evaluations, and that no moment of a stop or a kill changes them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigor_jax.config import OptimizerConfig
from vigor_jax.parallel import mesh as meshes
from vigor_jax.train import optimizer, plateau


def cuts_of(metrics, patience):
    """The evaluations, counted from 0, after which the rate is cut: by looking back over all of them each time."""
    cuts = []
    for now in range(len(metrics)):
        since = cuts[-1] + 1 if cuts else 0  # the first evaluation that counts
        window = metrics[max(since, now - patience + 1) : now + 1]
        before = metrics[: now + 1 - len(window)]
        if len(window) == patience and before and max(window) <= max(before):
            cuts.append(now)
    return cuts


# Coarse ones too, for ties.
METRICS = st.lists(st.integers(0, 4).map(lambda k: k / 4) | st.floats(0, 1, width=32), max_size=40)


@given(metrics=METRICS, patience=st.integers(1, 5))
def test_cuts_are_those_of_looking_back(metrics, patience):
    state, cuts = plateau.fresh(), []
    for now, metric in enumerate(metrics):
        after = plateau.after_evaluation(state, metric, patience=patience, factor=0.5)
        if after.scale != state.scale:
            cuts.append(now)
        state = after
        assert state.best == max(metrics[: now + 1])
        assert (state.scale.dtype, state.best.dtype, state.since.dtype) == (np.float32, np.float32, np.int32)
    assert cuts == cuts_of(metrics, patience)
    assert state.scale == 0.5 ** len(cuts)


def test_by_hand():
    scale = []
    state = plateau.fresh()
    for metric in (0.1, 0.3, 0.3, 0.2, 0.31, 0.3, 0.31, 0.1, 0.1, 0.9):
        state = plateau.after_evaluation(state, metric, patience=2, factor=0.1)
        scale.append(float(state.scale))
    np.testing.assert_allclose(scale, [1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001], rtol=1e-6)


def with_scale(opt_state, scale):
    """As if the rate had been cut."""

    def put(node):
        return node._replace(scale=jnp.float32(scale)) if isinstance(node, plateau.PlateauState) else node

    return jax.tree.map(put, opt_state, is_leaf=lambda node: isinstance(node, plateau.PlateauState))


# Two steps of gradient 1, the second after a cut to a tenth; RMSProp's mean of squares stays 1, the root is of 1 + 1.
@pytest.mark.parametrize(
    ("name", "weight_decay", "expected"),
    [
        ("sgd", 0.0, [-1, -0.1 * (0.5 + 1)]),
        ("rmsprop", 0.0, [-1 / np.sqrt(2), -(0.5 + 0.1) / np.sqrt(2)]),  # its momentum keeps the rate that it took in
        ("adam", 0.0, [-1, -0.1]),
        ("adam", 0.25, [-1 - 0.25 * 2, -0.1 - 0.1 * 0.25 * 2]),
    ],
)
def test_a_cut_acts_where_the_rate_does(name, weight_decay, expected):
    own = {} if name == "adam" else {"momentum": 0.5}
    config = OptimizerConfig(name=name, learning_rate=1.0, weight_decay=weight_decay, schedule="plateau", **own)
    transformation = optimizer.create(config)
    params, gradient = {"kernel": jnp.float32(2)}, {"kernel": jnp.float32(1)}
    state = transformation.init(params)
    for scale, value in zip((1.0, 0.1), expected, strict=True):
        state = with_scale(state, scale)
        update, state = transformation.update(gradient, state, params)
        np.testing.assert_allclose(update["kernel"], value, rtol=1e-4)
        assert float(plateau.scaled(jnp.float32(2), state)) == np.float32(2) * np.float32(scale)


def test_other_schedules_have_no_such_state():
    state = optimizer.create(OptimizerConfig()).init(jnp.float32(0))
    assert plateau.scaled(3.0, state) == 3.0
    assert plateau.observe(state, {}, "validation/top1", OptimizerConfig(), meshes.data_mesh(), 1) is state


def test_an_evaluation_changes_the_state_on_the_devices_and_says_so(caplog):
    caplog.set_level("INFO")
    config = OptimizerConfig(name="sgd", learning_rate=0.5, schedule="plateau", plateau_patience=2)
    mesh = meshes.data_mesh()
    state = jax.device_put(optimizer.create(config).init({"kernel": jnp.ones(3)}), meshes.replicated(mesh))
    for k, metric in enumerate((0.3, 0.5, 0.5, 0.4, 0.45)):
        before, state = state, plateau.observe(state, {"a": metric, "b": k}, "a", config, mesh, 4 * (k + 1))
        assert jax.tree.structure(before) == jax.tree.structure(state)
        for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(state), strict=True):
            assert (old.shape, old.dtype, old.sharding) == (new.shape, new.dtype, new.sharding)
    assert [record.message for record in caplog.records] == [
        "Step 16: a was not above 0.5 in the last 2 evaluations, so the learning rate is multiplied by 0.1, from 0.5 "
        "to 0.05."
    ]
    assert float(plateau.scaled(0.5, state)) == np.float32(0.1) * np.float32(0.5)
