"""A batch encoded a few pairs at a time has the loss and the gradient of the batch encoded at once."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from vigor_jax.losses import iou_difference, offset_regression, soft_margin_triplet
from vigor_jax.models import CrossViewModel, cross_view
from vigor_jax.models.cross_view import training_pairs
from vigor_jax.models.descriptor import unit_norm
from vigor_jax.models.micro_batches import in_micro_batches
from vigor_jax.parallel import mesh as meshes

_REPLICATED, _BY_ROWS = PartitionSpec(), PartitionSpec(meshes.AXIS)


def _images(rows: int, size: int, views: tuple[str, ...]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    batch = {}
    for view in views:
        shape = (rows, size, 2 * size if view == "ground" else size, 3)
        # Each image of its own colour: averaged over an image, noise alone looks the same in all of them.
        batch[view] = (rng.uniform(0, 256, shape) * rng.uniform(size=(rows, 1, 1, 3))).astype(np.uint8)
    return batch


def _difference(found: Any, expected: Any) -> float:
    """The largest difference of any array, relative to the largest value in it."""
    each = jax.tree.map(lambda a, b: np.max(np.abs(a - b)) / np.max(np.abs(b)), *jax.device_get((found, expected)))
    return max(jax.tree.leaves(each))


# ---- Any encoder ----

_PAIRS = 32


def _encoder() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    shapes = {"convolution": (3, 3, 3, 8), "out": (8, 5)}
    return {name: rng.normal(size=shape, scale=0.3).astype(np.float32) for name, shape in shapes.items()}


def _encode(params: dict[str, jax.Array], images: jax.Array, key: jax.Array) -> jax.Array:
    pixels, layout = images.astype(jnp.float32) / 255, ("NHWC", "HWIO", "NHWC")
    features = jax.lax.conv_general_dilated(pixels, params["convolution"], (1, 1), "SAME", dimension_numbers=layout)
    return nn.relu(features).mean(axis=(1, 2)) @ params["out"]


def _encoder_loss(params, batch, *, size: int, axis_name: str | None = None) -> jax.Array:
    encode, key = functools.partial(_encode, params), jax.random.key(0)
    tiles, panoramas = (
        in_micro_batches(encode, [images], key, size) if size else encode(images, key) for images in batch.values()
    )
    return soft_margin_triplet(unit_norm(tiles), unit_norm(panoramas), 3.0, axis_name)


@functools.cache
def _encoder_at_once() -> tuple[Any, Any, Any]:
    params, batch = _encoder(), _images(_PAIRS, 8, ("aerial", "ground"))
    program = jax.jit(jax.value_and_grad(functools.partial(_encoder_loss, size=0)))
    return params, batch, jax.device_get(program(params, batch))


@pytest.mark.parametrize(("devices", "size"), [(1, 4), (8, 2)])
def test_loss_and_gradient_are_those_of_the_batch_at_once(devices, size):
    params, batch, expected = _encoder_at_once()
    mesh = meshes.data_mesh(jax.devices()[:devices])
    program = jax.value_and_grad(functools.partial(_encoder_loss, size=size, axis_name=meshes.AXIS))
    found = meshes.pmap(program, mesh, (_REPLICATED, _BY_ROWS), _REPLICATED)(params, batch)
    assert _difference(found, expected) < 1e-5


def test_the_mean_of_micro_batch_losses_is_another_loss():
    """What the other tests would catch: averaged, each pair only knows the negatives of its own micro-batch."""
    params, batch, (loss, gradient) = _encoder_at_once()

    def averaged(params):
        blocks = jax.tree.map(lambda images: images.reshape(-1, 4, *images.shape[1:]), batch)
        return jax.lax.map(functools.partial(_encoder_loss, params, size=0), blocks).mean()

    other_loss, other_gradient = jax.jit(jax.value_and_grad(averaged))(params)
    assert abs(other_loss - loss) > 1e-3 * loss
    assert optax.tree.norm(optax.tree.sub(other_gradient, gradient)) > 0.05 * optax.tree.norm(gradient)


def test_memory_is_that_of_a_micro_batch():
    key = jax.random.key(0)

    def temporary(rows: int, size: int) -> int:
        def loss(params, images):
            encode = functools.partial(_encode, params)
            return jnp.sum((in_micro_batches(encode, [images], key, size) if size else encode(images, key)) ** 2)

        lowered = jax.jit(jax.grad(loss)).lower(_encoder(), _images(rows, 32, ("aerial",))["aerial"])
        return lowered.compile().memory_analysis().temp_size_in_bytes

    assert temporary(64, 0) > 3 * temporary(16, 0)
    assert temporary(64, 4) < 4 / 3 * temporary(16, 4) < 0.5 * temporary(16, 0)


def test_every_micro_batch_has_a_key_of_its_own_and_the_same_in_both_passes():
    """Against a loop over the micro-batches, differentiated without encoding anything twice."""
    rows = np.random.default_rng(0).normal(size=(6, 1, 1, 3)).astype(np.uint8)
    other, key, weight = rows[::-1] + 1, jax.random.key(3), jnp.arange(1.0, 4)

    def encode(weight, images, key):
        return jnp.sin(images[:, 0, 0] * weight) * jax.random.uniform(key, (len(images), 3))

    def scanned(weight):
        return in_micro_batches(functools.partial(encode, weight), [rows, other], key, 2)

    def looped(weight):
        parts = []
        for number in range(3):
            some = slice(2 * number, 2 * number + 2)
            both = np.concatenate([rows[some], other[some]])
            parts.append(encode(weight, both, jax.random.fold_in(key, number)).reshape(2, 2, 3))
        return jnp.concatenate(parts, axis=1).reshape(12, 3)

    cotangent = np.random.default_rng(1).normal(size=(12, 3)).astype(np.float32)

    @jax.jit
    def run():
        values = []
        for describe in (scanned, looped):
            value, back = jax.vjp(describe, weight)
            values.append((value, *back(cotangent)))
        return values

    (found, gradient), (expected, expected_gradient) = run()
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-5)


def test_rows_that_are_no_whole_number_of_micro_batches_are_refused():
    with pytest.raises(ValueError, match="6 rows are no whole number of micro-batches of 4"):
        in_micro_batches(lambda images, key: images, [np.zeros((6, 1, 1, 3), np.uint8)], jax.random.key(0), 4)


# ---- The model ----


class _Tower(nn.Module):
    """As little of a VGG as compiles in no time."""

    dtype: Any
    remat: bool

    @nn.compact
    def __call__(self, images, *, train):
        features = images.astype(self.dtype)
        for name, stride in (("fine", 1), ("coarse", 4)):
            features = nn.relu(nn.Conv(8, (3, 3), stride, dtype=self.dtype, name=name)(features))
        return (features,)


@pytest.fixture(autouse=True, scope="module")
def little_towers() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cross_view, "tower", lambda name, *, dtype, remat, **options: _Tower(dtype, remat))
        yield


_MODELS = {
    "hybrid": {"aggregation": "safa", "num_heads": 2, "centre_descriptor": True, "offset_outputs": 2},
    "siamese": {"aggregation": "fully_connected", "descriptor_dim": 12, "dropout": 0.0},
}
_VIEWS = {"hybrid": ("aerial", "ground", "semi_positive"), "siamese": ("aerial", "ground")}


def _model(name: str, **changes: object) -> CrossViewModel:
    return CrossViewModel(**{"aggregation_std": 0.3, "final_pool": False, **_MODELS[name], **changes})


def _variables(name: str) -> dict[str, Any]:
    images = _images(1, 16, ("aerial", "ground")).values()
    return jax.device_get(jax.jit(functools.partial(_model(name).init, train=False))(jax.random.key(0), *images))


def _loss(model, variables, batch, size, axis_name) -> tuple[jax.Array, Any]:
    """The losses of all kinds, and the mutable variables."""
    pairs, state = training_pairs(
        model, variables, **batch, dropout=jax.random.key(0), micro_batch_size=size, axis_name=axis_name
    )
    loss = soft_margin_triplet(pairs.aerial, pairs.ground, 3.0, axis_name)
    if pairs.semi_positive is not None:
        colour = batch["ground"].astype(jnp.float32).mean(axis=(1, 2)) / 255
        embeddings = (pairs.ground, pairs.aerial, pairs.semi_positive)
        loss += iou_difference(*embeddings, colour[:, 0], valid=colour[:, 1] > 0.2, axis_name=axis_name)
        loss += offset_regression(pairs.offset, colour[:, 1:], axis_name=axis_name)
    return loss, state


def _step(name: str, devices: int, size: int, **changes: object) -> Callable[..., Any]:
    """`(variables, batch) -> (loss, mutable variables), gradient`."""
    model = _model(name, **changes)

    def step(variables, batch):
        def loss(params):
            params = jax.lax.pcast(params, meshes.AXIS, to="varying")  # as the trainer's step does
            return _loss(model, {**variables, "params": params}, batch, size, meshes.AXIS)

        return jax.value_and_grad(loss, has_aux=True)(variables["params"])

    return meshes.pmap(step, meshes.data_mesh(jax.devices()[:devices]), (_REPLICATED, _BY_ROWS), _REPLICATED)


@pytest.mark.long
@pytest.mark.parametrize("name", ["hybrid", "siamese"])
def test_every_gradient_and_statistic_of_the_model(name):
    variables, batch = _variables(name), _images(_PAIRS, 16, _VIEWS[name])
    expected = _step(name, 1, 0)(variables, batch)
    for devices in (1, 2, 8):
        for size in (1, 2, 4):
            assert _difference(_step(name, devices, size)(variables, batch), expected) < 1e-5, (devices, size)


@pytest.mark.long
def test_bfloat16_gradients_are_as_exact_as_at_once():
    variables, batch = _variables("hybrid"), _images(_PAIRS, 16, _VIEWS["hybrid"])
    (_, _), exact = _step("hybrid", 2, 0)(variables, batch)

    def error(size: int) -> float:
        (_, _), found = _step("hybrid", 2, size, dtype=jnp.bfloat16)(variables, batch)
        return float(optax.tree.norm(optax.tree.sub(found, exact)) / optax.tree.norm(exact))

    assert 1e-3 < error(2) < 1.1 * error(0)


def test_devices_exchange_as_much_as_without_micro_batches():
    """No gradient is summed over the devices before the last micro-batch."""
    batch = _images(8, 16, _VIEWS["hybrid"])
    init = functools.partial(_model("hybrid").init, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), batch["aerial"], batch["ground"])
    at_once, in_micro_batches = (_step("hybrid", 2, size).trace(variables, batch).jaxpr.jaxpr for size in (0, 2))
    summed = _summed(at_once)
    assert summed[0] > sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    np.testing.assert_array_equal(_summed(in_micro_batches), summed)


def _summed(jaxpr, in_loop: bool = False) -> np.ndarray:
    """How many numbers are summed over the devices: outside of loops, inside."""
    found = np.zeros(2, int)
    for equation in jaxpr.eqns:
        if "psum" in equation.primitive.name:
            found[int(in_loop)] += sum(variable.aval.size for variable in equation.invars)
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            found += _summed(inner, in_loop or equation.primitive.name == "scan")
    return found
