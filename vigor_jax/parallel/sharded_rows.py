"""Arrays as rows over devices: where they lie, and how they come there."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array


def common_mesh(aerial: Array | np.ndarray, ground: Array | np.ndarray) -> Mesh:
    """The mesh of the first array that spreads over several devices; else the one device of either, or of the host."""
    return _mesh_of(aerial) or _mesh_of(ground) or Mesh(np.array(_one_device(aerial, ground)), ("rows",))


def place_rows(array: Array | np.ndarray, mesh: Mesh) -> jax.Array:
    """Rows over all devices of the mesh, padded to equal shares; nothing moves if they already are."""
    return jax.device_put(padded(array, mesh.size), NamedSharding(mesh, P(mesh.axis_names)))


def padded(array: Array | np.ndarray, shares: int) -> Array | np.ndarray:
    """Appends as few rows of zeros as make `shares` equal shares of [N, ...] rows."""
    missing = -array.shape[0] % shares
    if not missing:
        return array
    pad = jnp.pad if isinstance(array, jax.Array) else np.pad
    return pad(array, ((0, missing), *((0, 0),) * (array.ndim - 1)))


def _mesh_of(array) -> Mesh | None:
    """The mesh an array spreads over, if it is on more than one device."""
    if not isinstance(array, jax.Array) or len(array.sharding.device_set) == 1:
        return None
    if isinstance(array.sharding, NamedSharding):
        return array.sharding.mesh
    return Mesh(np.array(sorted(array.sharding.device_set, key=lambda device: device.id)), ("rows",))


def _one_device(*arrays) -> list[jax.Device]:
    for array in arrays:
        if isinstance(array, jax.Array):
            return list(array.sharding.device_set)
    return jax.local_devices()[:1]
