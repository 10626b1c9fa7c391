"""Embeddings of both views as evaluation reads them: rows over the devices, in any order, checked once."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from vigor_jax.parallel.sharded_rows import common_mesh, place_rows
from vigor_jax.retrieval.errors import EvaluationError


@dataclasses.dataclass(frozen=True)
class Embeddings:
    """Finite embeddings of one view. The array may hold other rows too, which are never looked at."""

    array: Float[Array | jax.ShapeDtypeStruct, "padded dim"]  # rows over all devices of the mesh, in equal shares
    mesh: Mesh
    rows: Int[np.ndarray, "count"]  # of the array, for each embedding; all different
    lengths: Float[np.ndarray, "count"]  # Euclidean

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, chosen: Int[np.ndarray, "some"]) -> "Embeddings":
        """Some of them, all different, in the order of `chosen`; the array stays where it is and whole."""
        return Embeddings(self.array, self.mesh, self.rows[chosen], self.lengths[chosen])


def both_views(
    ground: Float[Array | np.ndarray, "ground_rows dim"],
    aerial: Float[Array | np.ndarray, "aerial_rows dim"],
    ground_rows: Int[np.ndarray, "queries"],
    aerial_rows: Int[np.ndarray, "references"],
) -> tuple[Embeddings, Embeddings]:
    """Checks embeddings of both views and lays them over the same devices: (ground, aerial).

    NumPy arrays and arrays on one device stay on one. Rows that are not named are padding.

    Example:
      >>> import numpy as np
      >>> from vigor_jax.retrieval import both_views
      >>> ground, aerial = np.eye(4, dtype=np.float32), np.full((3, 4), 0.5, np.float32)
      >>> queries, gallery = both_views(ground, aerial, np.arange(3), np.array([2, 0]))
      >>> len(queries), gallery.lengths.round(4).tolist()
      (3, [1.0, 1.0])

    Raises:
      EvaluationError: an embedding is not finite; names the view and, in the order of its rows, which.
    """
    mesh = common_mesh(aerial, ground)
    arrays = place_rows(ground, mesh), place_rows(aerial, mesh)
    squared = _squared_lengths(arrays, mesh=mesh)
    found = []
    for view, array, rows, squares in zip(
        ("ground", "aerial"), arrays, (ground_rows, aerial_rows), squared, strict=True
    ):
        squares = np.asarray(squares)[rows]
        bad = np.flatnonzero(~np.isfinite(squares))
        if len(bad):
            raise EvaluationError(
                f"{len(bad)} of {len(rows)} {view} embeddings are not finite (NaN, infinite, or longer than float32 "
                f"can hold); first rows: {', '.join(map(str, bad[:5]))}. The model has diverged or an input image is "
                "damaged."
            )
        found.append(Embeddings(array, mesh, rows, np.sqrt(squares)))
    return tuple(found)


@functools.partial(jax.jit, static_argnames="mesh")
def _squared_lengths(arrays, *, mesh):
    """Of every row, on every device, so that each host can read them."""

    @functools.partial(jax.shard_map, mesh=mesh, in_specs=P(mesh.axis_names), out_specs=P())
    def gathered(arrays):
        squared = [jnp.sum(rows.astype(jnp.float32) ** 2, axis=1) for rows in arrays]
        return [jax.lax.all_gather(x, mesh.axis_names, tiled=True, to="invarying") for x in squared]

    return gathered(arrays)
