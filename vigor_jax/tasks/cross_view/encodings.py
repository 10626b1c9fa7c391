"""What a cross-view model makes of tiles and panoramas, each encoded once and kept on the devices."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from vigor_jax.datasets.cross_view import CrossViewData
from vigor_jax.encoding.on_devices import DeviceEncoder, DeviceRows, Encode, encode_images
from vigor_jax.encoding.stopping import never
from vigor_jax.models import CrossViewModel
from vigor_jax.models.cross_view import Encoded
from vigor_jax.models.symmetric_descriptor import panorama_symmetries, side_by_side, tile_symmetries
from vigor_jax.models.variables import Variables
from vigor_jax.retrieval.embeddings import Embeddings, both_views
from vigor_jax.tasks.cross_view import baselines
from vigor_jax.tasks.cross_view.baselines import Features


@dataclasses.dataclass(frozen=True)
class Encodings:
    """Encoded tiles and panoramas, and where they lie.

    Attributes:
      tiles: which tiles are encoded, and in which rows.
      panoramas: likewise.
      aerial: of the tiles.
      ground: of the panoramas.
    """

    tiles: DeviceRows
    panoramas: DeviceRows
    aerial: Encoded
    ground: Encoded

    def embeddings(self) -> tuple[Embeddings, Embeddings]:
        """Checks all embeddings: (of `panoramas.images`, of `tiles.images`), in their order.

        Raises:
          EvaluationError: embeddings that are not finite.
        """
        rows = self.panoramas.of(self.panoramas.images), self.tiles.of(self.tiles.images)
        return both_views(self.ground.embedding, self.aerial.embedding, *rows)

    def with_embeddings(
        self, ground: Float[Array, "padded_panoramas dim"], aerial: Float[Array, "padded_tiles dim"]
    ) -> "Encodings":
        """Exchanges the embeddings for others in the same rows, of any dimension."""
        return dataclasses.replace(
            self, ground=self.ground._replace(embedding=ground), aerial=self.aerial._replace(embedding=aerial)
        )


class CrossViewEncoder:
    """Encodes tiles and panoramas of a data set; compiled once for each mesh."""

    def __init__(self, model: CrossViewModel, data: CrossViewData, *, symmetries: bool, batch_size: int, threads: int):
        """Compiles nothing yet.

        Args:
          model: of the variables.
          data: the prepared data set.
          symmetries: encode each image in the eight symmetries of a tile, side by side.
          batch_size: images encoded at a time, over all devices.
          threads: that read and decode.
        """
        self._data, self._batch_size, self._threads = data, batch_size, threads
        encode_aerial = functools.partial(model.apply, method="encode", view="aerial")
        encode_ground = functools.partial(model.apply, method="encode", view="ground")
        if symmetries:
            encode_aerial = _in_all_symmetries(encode_aerial, tile_symmetries)
            encode_ground = _in_all_symmetries(encode_ground, panorama_symmetries)
        self._aerial, self._ground = DeviceEncoder(encode_aerial), DeviceEncoder(encode_ground)
        self._colours = DeviceEncoder(baselines.colours)

    def __call__(
        self,
        variables: Variables,
        tiles: Int[np.ndarray, "tiles"],
        panoramas: Int[np.ndarray, "panoramas"],
        mesh: Mesh,
        should_stop: Callable[[], bool] = never,
    ) -> Encodings:
        """Encodes some tiles and panoramas.

        Args:
          variables: of the model.
          tiles: rows of the data set.
          panoramas: likewise.
          mesh: whose devices encode.
          should_stop: asked after every batch.

        Raises:
          EvaluationStopped: `should_stop` said so.
        """
        return self._encode(variables, {}, tiles, panoramas, mesh, should_stop)[0]

    def with_colours(
        self,
        variables: Variables,
        tiles: Int[np.ndarray, "tiles"],
        panoramas: Int[np.ndarray, "panoramas"],
        mesh: Mesh,
        should_stop: Callable[[], bool] = never,
    ) -> tuple[Encodings, Features, Features]:
        """Encodes as a call does, and describes the colours of the panoramas and of the tiles from the same reading."""
        encodings, ground, aerial = self._encode(
            variables, {"colours": (self._colours, {})}, tiles, panoramas, mesh, should_stop
        )
        return encodings, ground["colours"], aerial["colours"]

    def _encode(
        self,
        variables: Variables,
        others: dict[str, tuple[DeviceEncoder, Variables]],
        tiles: Int[np.ndarray, "tiles"],
        panoramas: Int[np.ndarray, "panoramas"],
        mesh: Mesh,
        should_stop: Callable[[], bool],
    ) -> tuple[Encodings, dict, dict]:
        """The encodings, and what the others make of the panoramas and of the tiles, by name."""
        data, encode = self._data, functools.partial(encode_images, threads=self._threads, should_stop=should_stop)
        of_tiles = DeviceRows(tiles, self._batch_size, mesh)
        of_panoramas = DeviceRows(panoramas, self._batch_size, mesh)
        aerial = encode(data.aerial, data.tiles.names, of_tiles, {"model": (self._aerial, variables)} | others)
        ground = encode(data.ground, data.panoramas.names, of_panoramas, {"model": (self._ground, variables)} | others)
        return Encodings(of_tiles, of_panoramas, aerial.pop("model"), ground.pop("model")), ground, aerial


def _in_all_symmetries(encode: Encode, symmetries: Callable[[jax.Array], list[jax.Array]]) -> Encode:
    """Searches and places by all symmetries of an image."""

    def encode_all(variables: Variables, images: jax.Array) -> Encoded:
        # One after the other: the program holds the model once, and the memory of one.
        every = jax.lax.map(functools.partial(encode, variables), jnp.stack(symmetries(images)))
        return Encoded(side_by_side(list(every.embedding)), jnp.concatenate(list(every.offset_features), axis=1))

    return encode_all
