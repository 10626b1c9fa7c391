"""The offset head is the two-layer perceptron it says it is, and learns what descriptors tell."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vigor_jax.losses import offset_classification, offset_regression
from vigor_jax.models import offset_cells
from vigor_jax.models.offset_head import OffsetHead


def _descriptors(seed: int, rows: int, dim: int, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return tuple(rng.normal(scale=scale, size=(rows, dim)).astype(np.float32) for _ in range(2))


def test_two_layers_on_the_aerial_and_the_ground_descriptor():
    aerial, ground = _descriptors(5, 3, 6)
    head = OffsetHead(outputs=2, hidden=5, kernel_std=0.5)
    found, variables = head.init_with_output(jax.random.key(0), aerial, ground)
    params = jax.tree.map(np.asarray, variables["params"])
    for row in range(3):
        between = []
        for unit in range(5):
            both = (
                aerial[row] @ params["aerial_in"]["kernel"][:, unit]
                + ground[row] @ params["ground_in"]["kernel"][:, unit]
            )
            between.append(max(0.0, both + params["ground_in"]["bias"][unit]))
        assert 0 < np.count_nonzero(between) < 5
        expected = np.array(between) @ params["linear_out"]["kernel"] + params["linear_out"]["bias"]
        np.testing.assert_allclose(found[row], expected, rtol=1e-5)


def test_parts_computed_once_place_any_panorama_on_any_tile():
    aerial, ground = _descriptors(4, 3, 6)
    head = OffsetHead(outputs=2, hidden=5, kernel_std=0.5)
    variables = head.init(jax.random.key(0), aerial, ground)
    tiles = head.apply(variables, aerial, method="aerial_part")
    panoramas = head.apply(variables, ground, method="ground_part")
    for shift in range(3):
        found = head.apply(variables, np.roll(tiles, shift, axis=0), panoramas, method="outputs_of")
        np.testing.assert_allclose(found, head.apply(variables, np.roll(aerial, shift, axis=0), ground), rtol=1e-6)


def test_start_values_are_the_authors():
    params = OffsetHead(outputs=100).init(jax.random.key(0), *_descriptors(0, 1, 256))["params"]
    assert params["aerial_in"]["kernel"].shape == params["ground_in"]["kernel"].shape == (256, 512)
    assert params["linear_out"]["kernel"].shape == (512, 100)
    assert "bias" not in params["aerial_in"]
    assert (params["ground_in"]["bias"] == 0.1).all()
    assert (params["linear_out"]["bias"] == 0.1).all()
    for layer in params.values():
        # A normal cut at two standard deviations keeps 0.880 of its own.
        np.testing.assert_allclose(layer["kernel"].std(), 0.005 * 0.8796, rtol=0.02)


def test_bfloat16_gives_float32_near_the_exact():
    aerial, ground = _descriptors(1, 4, 32)
    exact, variables = OffsetHead(2, kernel_std=0.1).init_with_output(jax.random.key(0), aerial, ground)
    low = OffsetHead(2, kernel_std=0.1, dtype=jnp.bfloat16).apply(variables, aerial, ground)
    assert low.dtype == exact.dtype == jnp.float32
    np.testing.assert_allclose(low, exact, atol=0.02 * float(abs(exact).max()))


# Descriptors as large as those of pretrained towers, from the authors' start; small ones, from a wider one.
@pytest.mark.parametrize(("scale", "kernel_std"), [(5.0, 0.005), (0.1, 0.1)])
@pytest.mark.parametrize("outputs", [2, 100])
def test_an_offset_between_two_descriptors_is_learnt(outputs, scale, kernel_std):
    """The offset is a linear function of how the descriptors differ; held-out pairs are placed far better than 0."""
    aerial, ground = _descriptors(2, 2500, 16, scale)
    direction = np.random.default_rng(3).normal(size=(16, 2))
    target = np.tanh((aerial - ground) @ direction / (10 * scale)).astype(np.float32) / 2
    head = OffsetHead(outputs, hidden=64, kernel_std=kernel_std)
    params = head.init(jax.random.key(0), aerial[:1], ground[:1])
    optimizer = optax.adam(3e-3)

    def loss(params):
        predicted = head.apply(params, aerial[:2000], ground[:2000])
        if outputs == 2:
            return offset_regression(predicted, target[:2000])
        return offset_classification(predicted, offset_cells.cell_of(target[:2000]))

    @jax.jit
    def train(params):
        def step(_, carry):
            params, state = carry
            updates, state = optimizer.update(jax.grad(loss)(params), state)
            return optax.apply_updates(params, updates), state

        return jax.lax.fori_loop(0, 250, step, (params, optimizer.init(params)))[0]

    found = head.apply(train(params), aerial[2000:], ground[2000:])
    found = found if outputs == 2 else offset_cells.expectation(found)
    error = np.median(np.linalg.norm(found - target[2000:], axis=1))
    assert error < 0.4 * np.median(np.linalg.norm(target[2000:], axis=1))
