import jax
import numpy as np
import pytest

from vigor_jax.datasets.image_codec import decode
from vigor_jax.encoding.on_devices import DeviceEncoder, DeviceRows, encode_images
from vigor_jax.encoding.stopping import EvaluationStopped
from vigor_jax.parallel import mesh as meshes


@pytest.mark.parametrize(("devices", "batch_size"), [(1, 13), (8, 13), (8, 16), (2, 200)])
def test_every_image_is_encoded_into_its_row(town, devices, batch_size):
    mesh = meshes.data_mesh(jax.devices()[:devices])
    wanted = np.random.default_rng(0).permutation(len(town.data.tiles))[:57]
    where = DeviceRows(np.repeat(wanted, 2), batch_size, mesh)
    encoder = DeviceEncoder(
        lambda variables, images: {"mean": variables["weight"] * images.mean(axis=(1, 2)), "first": images[:, 0, 0]}
    )
    found = encode_images(
        town.data.aerial,
        town.data.tiles.names,
        where,
        {"weighed": (encoder, {"weight": np.float32(2)}), "again": (encoder, {"weight": np.float32(3)})},
        threads=2,
    )
    rows = where.of(wanted)
    assert len(set(rows.tolist())) == 57
    pixels = np.stack([decode(town.data.aerial[row], "image") for row in wanted])
    for name, weight in (("weighed", 2), ("again", 3)):
        assert len(found[name]["mean"].sharding.device_set) == devices
        np.testing.assert_allclose(
            np.asarray(found[name]["mean"])[rows], weight * pixels.astype(np.float64).mean(axis=(1, 2)), rtol=1e-5
        )
        np.testing.assert_array_equal(np.asarray(found[name]["first"])[rows], pixels[:, 0, 0])


def test_any_stretch_of_images_is_spread_over_all_devices():
    mesh = meshes.data_mesh(jax.devices()[:8])
    share = -(-1000 // 64) * 8  # rows of a device
    devices = DeviceRows(np.arange(1000), 64, mesh).of(np.arange(1000)) // share
    for first in (0, 100, 333):
        counts = np.bincount(devices[first : first + 500], minlength=8)
        assert counts.max() - counts.min() <= 8


def test_an_image_that_is_not_encoded_is_not_taken_for_another():
    rows = DeviceRows(np.array([2, 3, 5]), 2, meshes.data_mesh(jax.devices()[:1]))
    with pytest.raises(ValueError, match=r"not encoded: \[4, 6\]"):
        rows.of(np.array([2, 4, 5, 6]))


def test_it_ends_after_the_batch_in_which_it_is_asked_to(town):
    asked = []
    encoder = DeviceEncoder(lambda _, images: images[:, 0, 0, 0])
    with pytest.raises(EvaluationStopped):
        encode_images(
            town.data.aerial,
            town.data.tiles.names,
            DeviceRows(np.arange(40), 10, meshes.data_mesh(jax.devices()[:1])),
            {"first": (encoder, {})},
            threads=1,
            should_stop=lambda: bool(asked.append(1)) or len(asked) == 2,
        )
    assert len(asked) == 2
