"""What a trained cross-view model still finds with its descriptors compressed."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from vigor_jax.input.randomness import fold
from vigor_jax.models.variables import Variables
from vigor_jax.parallel.sharded_rows import place_rows
from vigor_jax.retrieval.compression import compressions
from vigor_jax.tasks.cross_view import pairs
from vigor_jax.tasks.cross_view.config import CrossViewConfig
from vigor_jax.tasks.cross_view.evaluation import Evaluation
from vigor_jax.tasks.cross_view.model import cross_view_model, offset_of
from vigor_jax.tasks.cross_view.towers import check_towers, read_weights
from vigor_jax.tasks.entry import NOTHING_RESOLVED, Resolved

# Of each view. Some 39 for each of product quantisation's 256 centroids, and with both views more than four times the
# principal components that 4096 dimensions have.
_MOST_IMAGES_FITTED = 10_000


@dataclasses.dataclass(frozen=True)
class Compression:
    """One compression and what it finds."""

    name: str  # of `retrieval.compression.compressions`
    dimension: int  # of the vectors that are compared
    bytes_per_descriptor: int
    metrics: dict[str, float]  # {"<split>/<metric>": value}


class DescriptorCompression:
    """Compresses the descriptors of a model that was trained, and evaluates it by them.

    Attributes:
      fit_tiles: rows of the tiles that the compressions are fitted on: references of training panoramas, at most
        10,000 of them, drawn by the seed.
      fit_panoramas: likewise of training panoramas.
    """

    def __init__(self, config: CrossViewConfig, resolved: Resolved = NOTHING_RESOLVED):
        """Opens the data set and draws what is fitted on; `resolved` is of the run that trained the model.

        Raises:
          UserError: data, splits or weights that cannot be had.
        """
        check_towers(config)
        data, splits = pairs.load(config)
        model = cross_view_model(config.model, read_weights(config.model, resolved.get("preprocessing"))[1])
        self._evaluation = Evaluation.of(config, model, data, splits.evaluations, offset=offset_of(config.model))
        self._seed = config.seed
        self.fit_tiles = _draw(np.unique(data.panoramas.references[splits.train]), config.seed, "tiles")
        self.fit_panoramas = _draw(splits.train, config.seed, "panoramas")

    def compressed(
        self, variables: Variables, mesh: Mesh, *, components: Sequence[int], code_bytes: Sequence[int]
    ) -> Iterator[Compression]:
        """Evaluates each of `retrieval.compression.compressions` of the descriptors, as they themselves would be.

        A query is placed on the tile that its compressed descriptor finds; the offset head reads what it does
        without compression.

        Args:
          variables: of the trained model.
          mesh: of the devices that embed and search; of this host. The compressions run on the host itself.
          components: how many principal components, at most as many as there are dimensions and images to fit on.
          code_bytes: of product quantisation, which divide the dimension; it needs 256 tiles to fit on.

        Raises:
          UserError: the extra `study` is not installed, or a size that the descriptors do not allow.
        """
        fit = self._fitted_on(variables, mesh)
        encodings = self._evaluation.encode(variables, mesh)
        found = compressions(
            *fit,
            # With their padding, which searches and is found no more than without a compression.
            np.asarray(encodings.ground.embedding),
            np.asarray(encodings.aerial.embedding),
            components=components,
            code_bytes=code_bytes,
            seed=self._seed,
        )
        for name, each in found:
            queries, gallery = place_rows(each.queries, mesh), place_rows(each.gallery, mesh)
            compressed = encodings.with_embeddings(ground=queries, aerial=gallery)
            metrics = self._evaluation.measure(variables, compressed).metrics
            yield Compression(name, gallery.shape[1], each.bytes_per_descriptor, metrics)

    def _fitted_on(
        self, variables: Variables, mesh: Mesh
    ) -> tuple[Float[np.ndarray, "tiles dim"], Float[np.ndarray, "panoramas dim"]]:
        """Embeddings of `fit_tiles` and of `fit_panoramas`."""
        found = self._evaluation.encoder(variables, self.fit_tiles, self.fit_panoramas, mesh)
        return (
            np.asarray(found.aerial.embedding)[found.tiles.of(self.fit_tiles)],
            np.asarray(found.ground.embedding)[found.panoramas.of(self.fit_panoramas)],
        )


def _draw(rows: Int[np.ndarray, "images"], seed: int, view: str) -> Int[np.ndarray, "drawn"]:
    random = np.random.default_rng(fold(seed, f"compressions are fitted on {view}"))
    return np.sort(random.choice(rows, min(len(rows), _MOST_IMAGES_FITTED), replace=False))
