"""What an evaluation makes of the embeddings of a split: exact ranks, distances in metres, assisted navigation."""

import functools
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Bool, Int

from vigor_jax.datasets.cross_view import CrossViewData
from vigor_jax.datasets.protocol import EvaluationSplit
from vigor_jax.retrieval import position
from vigor_jax.retrieval.assisted_navigation import assisted_metrics, assisted_question
from vigor_jax.retrieval.embeddings import Embeddings
from vigor_jax.retrieval.metrics import fractions
from vigor_jax.retrieval.ranks import ranks_question
from vigor_jax.retrieval.score_pass import score_pass
from vigor_jax.retrieval.top_k import top_k_question
from vigor_jax.retrieval.windows import windows

_SHOWN = 5  # tiles a query that the report shows
# Of a zoom-20 pixel in every city, as VIGOR's authors have it; beside the true one for comparison.
_AUTHORS_METRES_PER_PX = 0.114

# Of panoramas and a tile for each, rows of the data set, to their offsets [queries, 2] in pixels.
OffsetsOf = Callable[[np.ndarray, np.ndarray], np.ndarray]


class RetrievalMeasure:
    """Ranks the queries of a split in its gallery, and says how far from the truth they are placed."""

    def __init__(self, data: CrossViewData, splits: Mapping[str, EvaluationSplit], *, seed: int):
        """Takes the positions of everything.

        Args:
          data: the prepared data set.
          splits: by name.
          seed: of the noise of assisted navigation.
        """
        self._data, self._splits, self._seed = data, splits, seed

    def __call__(
        self, name: str, queries: Embeddings, gallery: Embeddings, offsets_of: OffsetsOf | None
    ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Measures a split: (metrics, findings for each query), as `Evaluation` names them.

        Args:
          name: of the split.
          queries: of its panoramas, in their order.
          gallery: of its tiles.
          offsets_of: where on a tile each query lies; None without an offset head.
        """
        split = self._splits[name]
        ranked, (_, best), assisted = score_pass(
            queries,
            gallery,
            ranks_question(split.references, len(split.tiles)),
            top_k_question(min(_SHOWN, len(split.tiles)), len(split.panoramas)),
            assisted_question(self._windows[name]),
        )
        first = split.tiles[best[:, 0]]
        placed, distances = self._distances(split, first, ranked.positive == 0, offsets_of)
        truth, gallery_at = self._panoramas_at(split.panoramas), self._tiles_at(split.tiles)
        offset_px = None if offsets_of is None else offsets_of(split.panoramas, split.tiles[assisted.top1])
        navigated = assisted_metrics(assisted, *truth, *gallery_at, offset_px)
        findings = {
            "panorama": split.panoramas.astype(np.int32),
            "rank": ranked.positive.astype(np.int32),
            "top5": split.tiles[best].astype(np.int32),
        }
        return fractions(ranked) | placed | _prefixed("assisted_", navigated), findings | distances

    def _distances(
        self,
        split: EvaluationSplit,
        first: Int[np.ndarray, "queries"],
        hits: Bool[np.ndarray, "queries"],
        offsets_of: OffsetsOf | None,
    ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Places each query on the tile that was found first for it: (metrics, findings)."""
        truth, found = self._panoramas_at(split.panoramas), self._tiles_at(first)
        centre_error_m = position.position_errors_m(*truth, *found, np.zeros((len(first), 2)))
        metrics = _prefixed("centre_", position.summary(centre_error_m))
        findings = {"centre_error_m": centre_error_m.astype(np.float32)}
        if hits.any():
            metrics["centre_found_median_m"] = float(np.median(centre_error_m[hits]))
        if offsets_of is not None:
            offset_px = offsets_of(split.panoramas, first)
            error_m = position.position_errors_m(*truth, *found, offset_px)
            fixed_m = position.position_errors_m(*truth, *found, offset_px, _AUTHORS_METRES_PER_PX)
            metrics |= position.summary(error_m) | _prefixed("fixed_resolution_", position.summary(fixed_m))
            findings |= {"offset_px": offset_px.astype(np.float32), "error_m": error_m.astype(np.float32)}
            if hits.any():
                metrics["found_median_m"] = float(np.median(error_m[hits]))
        return metrics, findings

    def _panoramas_at(self, rows: Int[np.ndarray, "some"]) -> tuple[np.ndarray, np.ndarray]:
        """(lat, lon)."""
        return self._data.panoramas.lat[rows], self._data.panoramas.lon[rows]

    def _tiles_at(self, rows: Int[np.ndarray, "some"]) -> tuple[np.ndarray, np.ndarray]:
        return self._data.tiles.lat[rows], self._data.tiles.lon[rows]

    @functools.cached_property
    def _windows(self) -> dict[str, Int[np.ndarray, "queries candidates"]]:
        """Of every split, equally wide, so that one program serves all."""
        found = {
            name: windows(
                split.references[:, 0],
                *self._panoramas_at(split.panoramas),
                *self._tiles_at(split.tiles),
                seed=self._seed,
            )
            for name, split in self._splits.items()
        }
        widest = max(table.shape[1] for table in found.values())
        return {
            name: np.pad(table, ((0, 0), (0, widest - table.shape[1])), constant_values=-1)
            for name, table in found.items()
        }


def _prefixed(prefix: str, metrics: dict[str, float]) -> dict[str, float]:
    return {prefix + name: value for name, value in metrics.items()}
