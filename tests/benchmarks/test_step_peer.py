"""The benchmarks of the training step: what they count, and that PyTorch's step is the same as ours."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest


def test_operations_are_those_of_the_published_layers(benchmark_module):
    count = benchmark_module("operation_count")
    tile = count.vgg_multiply_adds("D", 1.0, 320, 320)
    assert round(tile / 1e9, 1) == 31.3
    assert count.vgg_multiply_adds("D", 1.0, 320, 640) == 2 * tile
    # One layer by hand, at an odd size: 3 channels to 8, and the pool keeps the last row and column.
    first, second = 9 * 3 * 8 * 5 * 7, 9 * 8 * 16 * 3 * 4
    third = 9 * (16 * 32 + 32 * 32) * 2 * 2
    rest = 9 * (32 * 64 + 64 * 64 + 2 * 64 * 64) * 1 * 1
    assert count.vgg_multiply_adds("A", 0.125, 5, 7) == first + second + third + rest
    assert count.hybrid_step_flop("D", 1.0, 320, 1) == pytest.approx(751e9, rel=1e-3)
    assert count.hybrid_step_flop("D", 1.0, 320, 14) == 14 * count.hybrid_step_flop("D", 1.0, 320, 1)


def test_the_kept_gradient_is_the_gradient_and_the_updates_are_the_same(benchmark_module):
    hybrid_step = benchmark_module("hybrid_step")
    params, gradient = {"a": jnp.asarray([1.0, 2.0])}, {"a": jnp.asarray([0.5, -3.0])}
    descent = optax.sgd(0.1)
    keeping = hybrid_step.keeping_gradient(descent)
    updates, kept = keeping.update(gradient, keeping.init(params), params)
    np.testing.assert_array_equal(hybrid_step.gradient_of(kept)["a"], gradient["a"])
    np.testing.assert_array_equal(updates["a"], descent.update(gradient, descent.init(params))[0]["a"])


def test_a_batch_of_noise_is_a_batch_of_the_hybrid_phase(benchmark_module):
    hybrid_step = benchmark_module("hybrid_step")
    size = hybrid_step.Size(3, 64, 0.125, "vgg11", "float32")
    batch = hybrid_step.noise_batch(size)
    assert batch["aerial"].shape == batch["semi_positive"].shape == (3, 64, 64, 3)
    assert batch["ground"].shape == (3, 64, 128, 3)
    assert {name: array.dtype.name for name, array in batch.items()} == {
        "aerial": "uint8",
        "semi_positive": "uint8",
        "ground": "uint8",
        "offset": "float32",
        "iou_ratio": "float32",
        "semi_positive_counts": "bool",
    }
    assert not np.array_equal(batch["aerial"], batch["semi_positive"])


@pytest.mark.long
def test_the_step_in_pytorch_is_the_same(benchmark_module):
    pytest.importorskip("torch", reason="PyTorch is in the extra bench")
    found = benchmark_module("train_step").check("vgg11")
    assert found["gradient_apart"] < 3e-5
