import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigor_jax.datasets.image_codec import encode_png
from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.encoding.on_host import HostEncoder
from vigor_jax.encoding.stopping import EvaluationStopped
from vigor_jax.input.labelled_batches import centre_crops, grid_crops, whole_images
from vigor_jax.parallel import mesh as meshes

ROWS = np.array([7, 2, 11, 0, 5, 9, 1])  # in no order


@pytest.fixture(scope="module")
def data() -> LabelledImages:
    """Twelve images of one colour each, of three shapes."""
    rows = np.arange(12)
    shapes = [((32, 64), (64, 32), (32, 32))[row % 3] for row in rows]
    return LabelledImages(
        name="plain",
        names=[f"{row}.png" for row in rows],
        labels=np.zeros(12, np.int32),
        class_names=("a",),
        images=[encode_png(np.full((*shape, 3), 10 * row, np.uint8)) for row, shape in zip(rows, shapes, strict=True)],
        sizes=np.array(shapes, np.int32),
        train=rows[:4],
        validation=rows[4:8],
        test=rows[8:],
        fingerprint="plain",
    )


@pytest.fixture(scope="module")
def encoder() -> HostEncoder:
    """Of each image, whatever its shape and its views: the mean of its values, weighed, and the number of them."""

    def encode(variables, images):
        pixels = jnp.asarray(images, jnp.float32).reshape(len(images), -1)
        return jnp.stack([variables["weight"] * pixels.mean(axis=1), jnp.full(len(images), pixels.shape[1])], axis=1)

    return HostEncoder(encode)


READERS = {
    "centre_crops": (functools.partial(centre_crops, crop=16, scale=32), lambda row: 16 * 16),
    "grid_crops": (functools.partial(grid_crops, crop=16, scale=32, per_side=2), lambda row: 4 * 16 * 16),
    # Shape by shape, so in another order than asked.
    "whole_images": (functools.partial(whole_images, scale=32), lambda row: 32 * 32 if row % 3 == 2 else 32 * 64),
}


@pytest.mark.parametrize(("devices", "batch_size"), [(1, 3), (4, 3), (2, 100)])
@pytest.mark.parametrize("reader", READERS)
def test_rows_come_in_the_order_in_which_they_were_asked_for(data, encoder, reader, devices, batch_size):
    read, pixels = READERS[reader]
    found = encoder(
        {"weight": np.float32(2)},
        functools.partial(read, data, threads=2),
        ROWS,
        meshes.data_mesh(jax.devices()[:devices]),
        batch_size=batch_size,
    )
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [(20 * row, 3 * pixels(row)) for row in ROWS])


def test_it_ends_after_the_batch_in_which_it_is_asked_to(data, encoder):
    asked = []
    with pytest.raises(EvaluationStopped):
        encoder(
            {"weight": np.float32(1)},
            functools.partial(centre_crops, data, crop=16, scale=32, threads=1),
            ROWS,
            meshes.data_mesh(jax.devices()[:1]),
            batch_size=2,
            should_stop=lambda: bool(asked.append(1)) or len(asked) == 2,
        )
    assert len(asked) == 2


def test_images_that_the_batches_lack_are_an_error(data, encoder):
    def read(rows, **options):
        return centre_crops(data, rows[:-2], crop=16, scale=32, threads=1, **options)

    with pytest.raises(ValueError, match=r"lack the images of 2 of 7 rows: \[9, 1\]"):
        encoder({"weight": np.float32(1)}, read, ROWS, meshes.data_mesh(jax.devices()[:1]), batch_size=2)
