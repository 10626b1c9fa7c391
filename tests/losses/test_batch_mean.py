"""The mean counts what it should, wherever it lies."""

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from vigor_jax.losses.batch_mean import batch_mean
from vigor_jax.parallel.mesh import data_mesh, pmap

_VALUES = np.array([1.0, 2.0, np.nan, 4.0, 5.0, 6.0, 7.0, 12.0], np.float32)
_VALID = np.array([True, True, False, True, False, False, False, True])


def test_one_device():
    assert batch_mean(jax.numpy.asarray(_VALUES[3:])) == 34 / 5
    assert batch_mean(jax.numpy.asarray(_VALUES), jax.numpy.asarray(_VALID)) == 19 / 4
    assert batch_mean(jax.numpy.asarray(_VALUES), jax.numpy.zeros(8, bool)) == 0


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_devices_with_more_and_fewer_valid_rows(devices):
    mapped = pmap(
        lambda values, valid: batch_mean(values, valid, "data"),
        data_mesh(jax.devices()[:devices]),
        in_specs=P("data"),
        out_specs=P(),
    )
    assert mapped(_VALUES, _VALID) == 19 / 4
