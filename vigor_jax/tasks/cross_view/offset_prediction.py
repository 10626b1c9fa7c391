"""Where on a tile the offset head places a panorama."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from vigor_jax import geometry
from vigor_jax.models import CrossViewModel
from vigor_jax.models.symmetric_descriptor import upright_offset
from vigor_jax.models.variables import Variables
from vigor_jax.parallel.mesh import AXIS
from vigor_jax.tasks.cross_view.encodings import Encodings


class OffsetPredictor:
    """Predicts offsets from the features that were kept of each image; one program for any number of queries."""

    def __init__(self, model: CrossViewModel, offset: Callable[[jax.Array], jax.Array], *, symmetries: bool):
        """Defines the program.

        Args:
          model: with an offset head.
          offset: how the head's outputs become offsets in halves of a tile.
          symmetries: features of all eight symmetries lie side by side; the offset is their mean.
        """

        def offset_of(
            variables: Variables,
            aerial: Float[Array, "padded_tiles hidden"],
            ground: Float[Array, "padded_panoramas hidden"],
            tile_rows: Int[Array, "padded"],
            panorama_rows: Int[Array, "padded"],
            sharding: NamedSharding,
        ) -> Float[Array, "padded 2"]:
            """Whole on every device, for each host to read."""
            chosen = (
                jax.lax.with_sharding_constraint(features[rows], sharding)
                for features, rows in ((aerial, tile_rows), (ground, panorama_rows))
            )
            views = [jnp.split(features, 8 if symmetries else 1, axis=1) for features in chosen]
            offsets = [offset(model.apply(variables, *pair, method="offset")) for pair in zip(*views, strict=True)]
            placed = upright_offset(offsets) if symmetries else offsets[0]
            return jax.lax.with_sharding_constraint(placed, NamedSharding(sharding.mesh, P()))

        self._offset = jax.jit(offset_of, static_argnames="sharding")

    def __call__(
        self,
        variables: Variables,
        encodings: Encodings,
        panoramas: Int[np.ndarray, "queries"],
        tiles: Int[np.ndarray, "queries"],
    ) -> Float[np.ndarray, "queries 2"]:
        """Places each panorama on a tile: its offset in pixels, as of `geometry.tile_offset`.

        Args:
          variables: of the model.
          encodings: of these panoramas and tiles, at least.
          panoramas: rows of the data set, at most as many as are encoded.
          tiles: one for each panorama, rows of the data set.
        """
        aerial, ground = encodings.aerial.offset_features, encodings.ground.offset_features
        queries = len(panoramas)
        # As many as there are panoramas, whatever the split, so that one program serves all.
        filled = [
            np.pad(rows, (0, len(ground) - queries)).astype(np.int32)
            for rows in (encodings.tiles.of(tiles), encodings.panoramas.of(panoramas))
        ]
        sharding = NamedSharding(encodings.tiles.mesh, P(AXIS))
        placed = self._offset(variables, aerial, ground, *filled, sharding=sharding)
        return np.asarray(placed, np.float64)[:queries] * (geometry.TILE_PX / 2)
