"""Embeddings as rows over devices: where they lie, how they are laid out, and whether they can be trusted."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from vigor_jax.retrieval.errors import EvaluationError


def common_mesh(aerial: Array | np.ndarray, ground: Array | np.ndarray) -> Mesh:
    """The mesh of the first array that spreads over several devices; else the one device of either, or of the host."""
    return _mesh_of(aerial) or _mesh_of(ground) or Mesh(np.array(_one_device(aerial, ground)), ("rows",))


def place_rows(array: Array | np.ndarray, mesh: Mesh) -> jax.Array:
    """Rows over all devices of the mesh, padded to equal shares; nothing moves if they already are."""
    missing = -array.shape[0] % mesh.size
    if missing:
        pad = jnp.pad if isinstance(array, jax.Array) else np.pad
        array = pad(array, ((0, missing), *((0, 0),) * (array.ndim - 1)))
    return jax.device_put(array, NamedSharding(mesh, P(mesh.axis_names)))


def pad_rows(array: np.ndarray, rows: int, value: int) -> np.ndarray:
    """`array` with rows of `value` added up to `rows`."""
    return np.pad(array, ((0, rows - len(array)), *((0, 0),) * (array.ndim - 1)), constant_values=value)


def in_row_order(blocks: np.ndarray, rows: int) -> np.ndarray:
    """Results computed block by block, [blocks, devices, block, ...], in the order of the rows, [rows, ...].

    Block b holds rows b * block and on of every device's share; the last ends with the share, so it may overlap.
    """
    count, devices, block = blocks.shape[:3]
    share = rows // devices
    starts = np.minimum(np.arange(count) * block, share - block)
    at = starts[:, None, None] + np.arange(devices)[:, None] * share + np.arange(block)
    ordered = np.empty((rows, *blocks.shape[3:]), blocks.dtype)
    ordered[at] = blocks
    return ordered


def finite_lengths(
    embeddings: Float[Array, "padded dim"], mesh: Mesh, rows: int, view: str
) -> Float[np.ndarray, "rows"]:
    """Euclidean length of the first `rows` embeddings, on the host.

    Raises:
      EvaluationError: one of them is not finite; names the `view` and the rows.
    """
    squared = np.asarray(_squared_lengths(embeddings, mesh=mesh))[:rows]
    bad = np.flatnonzero(~np.isfinite(squared))
    if len(bad):
        raise EvaluationError(
            f"{len(bad)} of {rows} {view} embeddings are not finite (NaN, infinite, or longer than float32 can hold); "
            f"first rows: {', '.join(map(str, bad[:5]))}. The model has diverged or an input image is damaged."
        )
    return np.sqrt(squared)


def scores_of_rows(
    queries: Float[Array, "queries dim"],
    embeddings: Float[Array, "local dim"],
    rows: Int[Array, "queries chosen"],
    axes: tuple[str, ...],
) -> Float[Array, "queries chosen"]:
    """Dot products of each query with rows chosen for it, wherever they lie; inside a mapped program.

    Args:
      queries: float32, the same on every device.
      embeddings: this device's rows.
      rows: counted from this device's first; a row outside 0..local-1 is another device's. -inf where it is nobody's.
      axes: names of the mapped axes.
    """
    here = (rows >= 0) & (rows < embeddings.shape[0])
    chosen = embeddings[jnp.where(here, rows, 0)].astype(jnp.float32)
    scores = jnp.einsum("qd,qkd->qk", queries, chosen, precision=jax.lax.Precision.HIGHEST)
    found = jax.lax.psum(here.astype(jnp.int32), axes) > 0
    return jnp.where(found, jax.lax.psum(jnp.where(here, scores, 0.0), axes), -jnp.inf)


@functools.partial(jax.jit, static_argnames="mesh")
def _squared_lengths(embeddings, *, mesh):
    """Of every row, on every device, so that each host can read them."""

    @functools.partial(jax.shard_map, mesh=mesh, in_specs=P(mesh.axis_names), out_specs=P())
    def gathered(rows):
        squared = jnp.sum(rows.astype(jnp.float32) ** 2, axis=1)
        return jax.lax.all_gather(squared, mesh.axis_names, tiled=True, to="invarying")

    return gathered(embeddings)


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
