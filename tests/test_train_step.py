"""The benchmarks of the training step: what they count, and that PyTorch's step is the same as ours."""

import importlib
import sys
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vigor_jax.models import vgg
from vigor_jax.models.vgg import max_pool_2x2

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmark_module(monkeypatch):
    """`(name) -> module` of benchmarks/, imported as its programs import it."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(BENCHMARKS):
            del sys.modules[name]


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


CONVOLUTIONS = [
    "channels_first",
    "as_matrix_products",
    "first_layer_as_matrix",
    "first_layer_in_blocks",
    "first_layer_padded",
    "kernel_gradient_as_products",
]


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_another_form_of_a_convolution_gives_the_same(benchmark_module, name):
    alternatives = benchmark_module("step_alternatives")
    channels = 3 if name.startswith("first_layer") else 4
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, 4, 8, channels)).astype(np.float32)
    layer = nn.Conv(5, (3, 3))
    kernel, weights = (rng.normal(size=shape).astype(np.float32) for shape in ((3, 3, channels, 5), (2, 4, 8, 5)))
    params = {"params": {"kernel": kernel, "bias": np.ones(5, np.float32)}}

    def value_and_gradients():
        # A new function each time, or the program of the one before would be taken.
        return jax.jit(jax.value_and_grad(lambda *args: (layer.apply(*args) * weights).sum(), argnums=(0, 1)))(
            params, images
        )

    expected = value_and_gradients()
    replacement = getattr(alternatives, name)
    with replacement(8) if name == "first_layer_padded" else replacement():
        assert jax.lax.conv_general_dilated is not alternatives._plain_convolution
        found = value_and_gradients()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected)


@pytest.mark.parametrize("name", ["pool_by_reduction", "pool_by_window"])
def test_another_pool_gives_the_same(benchmark_module, name):
    alternatives = benchmark_module("step_alternatives")
    features = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 6, 3)), jnp.float32)

    def value_and_gradient():
        return jax.value_and_grad(lambda x: (vgg.max_pool_2x2(x) ** 2).sum())(features)

    expected = value_and_gradient()
    with getattr(alternatives, name)():
        assert vgg.max_pool_2x2 is not max_pool_2x2
        found = value_and_gradient()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)


PROGRAM = """HloModule jit_step, input_output_alias={ {0}: (0, {}, may-alias), {1}: (3, {}, must-alias) }
  %a = f32[4,64,64,3]{3,2,1,0} convolution(%g, %k), window={size=3x3}
  %b = (f32[2,64,128,3]{3,2,1,0}, u8[9]{0}) custom-call(%g, %k), custom_call_target="__cudnn$convBackwardInput"
  %c = f32[64,3,3,64]{3,2,1,0} convolution(%g, %x), window={size=8x8}
  %d = f32[2,64,64,8]{3,2,1,0} convolution(%x, %k), window={size=3x3}
"""


def test_donated_buffers_and_gradients_of_images_are_read_off_the_program(benchmark_module):
    candidates = benchmark_module("step_candidates")
    size = benchmark_module("hybrid_step").Size(2, 64, 1.0, "vgg11", "float32")
    assert candidates.donated_buffers(PROGRAM) == 2
    assert candidates.image_gradients(PROGRAM, size) == 2  # %a of both kinds of tile, %b of panoramas


@pytest.mark.long
def test_the_step_in_pytorch_is_the_same(benchmark_module):
    pytest.importorskip("torch", reason="PyTorch is in the extra bench")
    found = benchmark_module("train_step").check("vgg11")
    assert found["gradient_apart"] < 3e-5
