import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from vigor_jax.config import ConfigError
from vigor_jax.parallel import mesh as meshes


def test_all_devices_on_one_axis():
    mesh = meshes.data_mesh()
    assert mesh.axis_names == ("data",)
    assert list(mesh.devices) == jax.devices()


def test_pmap_sees_shards_and_takes_host_arrays():
    mesh = meshes.data_mesh(jax.devices()[:4])

    def program(scale, rows):
        assert rows.shape == (2, 3)
        return scale * rows, jax.lax.psum(rows.sum(), "data")

    mapped = meshes.pmap(program, mesh, (P(), P("data")), (P("data"), P()))
    rows = np.arange(24.0).reshape(8, 3)
    doubled, total = mapped(2.0, rows)
    np.testing.assert_array_equal(doubled, 2 * rows)
    assert total == rows.sum()


def test_pmap_refuses_a_result_that_is_not_replicated():
    mesh = meshes.data_mesh(jax.devices()[:2])
    mapped = meshes.pmap(lambda rows: rows.sum(), mesh, P("data"), P())
    with pytest.raises(ValueError, match="out_specs"):
        mapped(jnp.arange(4.0))


@pytest.mark.parametrize("micro_batch_size", [0, 1, 2, 3, 4, 6, 12])
def test_micro_batches_that_divide_the_share_of_a_device(micro_batch_size):
    meshes.require_divisible(24, meshes.data_mesh(jax.devices()[:2]), micro_batch_size)


@pytest.mark.parametrize("micro_batch_size", [5, 24])
def test_micro_batches_that_do_not_are_refused_with_those_that_do(micro_batch_size):
    with pytest.raises(ConfigError, match=r"config\.micro_batch_size = .* 12 pairs .* 2 devices .*: 1, 2, 3, 4, 6, 12"):
        meshes.require_divisible(24, meshes.data_mesh(jax.devices()[:2]), micro_batch_size)
