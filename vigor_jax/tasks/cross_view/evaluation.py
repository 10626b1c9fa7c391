"""Evaluation of a cross-view model: the images of all splits encoded once, and each split measured by them."""

import functools
from collections.abc import Callable, Mapping

import jax
import numpy as np
from jax.sharding import Mesh

from vigor_jax.datasets.cross_view import CrossViewData
from vigor_jax.datasets.protocol import EvaluationSplit
from vigor_jax.encoding.stopping import never, stop_if_asked
from vigor_jax.models import CrossViewModel
from vigor_jax.models.variables import Variables
from vigor_jax.tasks.cross_view import baselines
from vigor_jax.tasks.cross_view.config import PairConfig
from vigor_jax.tasks.cross_view.encodings import CrossViewEncoder, Encodings
from vigor_jax.tasks.cross_view.measure import RetrievalMeasure
from vigor_jax.tasks.cross_view.offset_prediction import OffsetPredictor
from vigor_jax.tasks.task import Evaluated, ModelEvaluation


class Evaluation(ModelEvaluation):
    """Metrics of every split, as a function of the variables.

    The splits share galleries, so the union of their tiles and of their queries is encoded once, stays where it is,
    and each split is searched in its rows of it. The colour baselines depend on the images alone: they are measured on
    the way of the first evaluation and kept.

    Attributes:
      encoder: of any images of the data set.
    """

    def __init__(
        self,
        model: CrossViewModel,
        data: CrossViewData,
        splits: Mapping[str, EvaluationSplit],
        *,
        batch_size: int,
        threads: int,
        offset: Callable[[jax.Array], jax.Array] | None,
        symmetries: bool,
        seed: int,
    ):
        """Finds what is to be encoded.

        Args:
          model: of the variables.
          data: the prepared data set.
          splits: by name.
          batch_size: images encoded at a time, over all devices.
          threads: that read and decode.
          offset: how the offset head's outputs become offsets in halves of a tile; None if there is no head.
          symmetries: retrieve by the mean similarity over the eight symmetries of a tile, place by the mean offset.
          seed: of the noise of assisted navigation.
        """
        self._splits = splits
        tiles = np.concatenate([split.tiles for split in splits.values()])
        panoramas = np.concatenate([split.panoramas for split in splits.values()])
        self._images = tiles, panoramas
        self.encoder = CrossViewEncoder(model, data, symmetries=symmetries, batch_size=batch_size, threads=threads)
        self._offsets = None if offset is None else OffsetPredictor(model, offset, symmetries=symmetries)
        self._measure = RetrievalMeasure(data, splits, seed=seed)
        self._constants: dict[str, float] | None = None

    @classmethod
    def of(
        cls,
        config: PairConfig,
        model: CrossViewModel,
        data: CrossViewData,
        splits: Mapping[str, EvaluationSplit],
        *,
        offset: Callable[[jax.Array], jax.Array] | None,
    ) -> "Evaluation":
        """Evaluates as the config says; the other arguments as of the class."""
        return cls(
            model,
            data,
            splits,
            batch_size=config.eval_batch_size,
            threads=config.input_threads,
            offset=offset,
            symmetries=config.eval_symmetries,
            seed=config.seed,
        )

    def __call__(self, variables: Variables, mesh: Mesh, should_stop: Callable[[], bool] = never) -> Evaluated:
        """Evaluates every split on the devices of the mesh.

        The metrics are those of `retrieval.rank_metrics`, of `retrieval.position.summary` (prefix `centre_`: with
        every query at the centre of its tile; `fixed_resolution_`: on the authors' projection), the same medians of
        the queries whose positive was found first (`found_median_m`, absent where none was), and those of assisted
        navigation (`assisted_`), beside sizes, chance and colour. The findings are, for each query of a split,
        `panorama`, `rank`, the rows `top5` of its best tiles, `offset_px` on the first of them, and the distances
        `error_m` and `centre_error_m`.

        Raises:
          EvaluationError: embeddings or offsets that are not finite.
          EvaluationStopped: `should_stop`, asked after every batch of images and before every split, said so.
        """
        if self._constants is None:
            encodings, *colours = self.encoder.with_colours(variables, *self._images, mesh, should_stop)
            self._constants = baselines.constants(self._splits, *colours, encodings.panoramas, encodings.tiles)
            del colours  # measuring needs their memory
        else:
            encodings = self.encode(variables, mesh, should_stop)
        evaluated = self.measure(variables, encodings, should_stop)
        return Evaluated(evaluated.metrics | self._constants, evaluated.findings)

    def encode(self, variables: Variables, mesh: Mesh, should_stop: Callable[[], bool] = never) -> Encodings:
        """Encodes every tile and panorama of the splits, for `measure`; `should_stop` is asked after every batch."""
        return self.encoder(variables, *self._images, mesh, should_stop)

    def measure(self, variables: Variables, encodings: Encodings, should_stop: Callable[[], bool] = never) -> Evaluated:
        """Measures every split by given encodings, without the constants that stand beside them.

        Args:
          variables: by which the offset head, if there is one, places the queries.
          encodings: of `encode`, or with embeddings made of its own.
          should_stop: asked before every split.

        Raises:
          EvaluationError: embeddings or offsets that are not finite.
          EvaluationStopped: `should_stop` said so.
        """
        metrics: dict[str, float] = {}
        findings: dict[str, np.ndarray] = {}
        ground, aerial = encodings.embeddings()
        offsets_of = None if self._offsets is None else functools.partial(self._offsets, variables, encodings)
        for name, split in self._splits.items():
            stop_if_asked(should_stop)
            queries = ground.take(encodings.panoramas.position(split.panoramas))
            gallery = aerial.take(encodings.tiles.position(split.tiles))
            found, single = self._measure(name, queries, gallery, offsets_of)
            metrics |= {f"{name}/{metric}": value for metric, value in found.items()}
            findings |= {f"{name}/{key}": value for key, value in single.items()}
        return Evaluated(metrics, findings)

    def table(self, metrics: dict[str, float]) -> dict[str, dict[str, str]]:
        """Of each split measured the columns of the epoch table, with what the recall must be compared to."""
        return {split: _row(split, metrics) for split in self._splits if f"{split}/top1" in metrics}

    @property
    def splits(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self._splits)


def _row(split: str, metrics: dict[str, float]) -> dict[str, str]:
    """Column to text, in percent: recalls beside what they must be compared to."""

    def percent(name: str, digits: int = 1) -> str:
        return f"{100 * metrics[f'{split}/{name}']:.{digits}f}"

    def colour(metric: str) -> str:
        return f"{100 * max(metrics[f'{split}/{baseline}_{metric}'] for baseline in baselines.BASELINES):.1f}"

    return {
        "top-1%": percent("top1_percent"),
        "top-1": percent("top1"),
        "top-5": percent("top5"),
        "top-10": percent("top10"),
        "hit rate": percent("hit_rate"),
        "gallery": f"{metrics[f'{split}/gallery']:.0f}",
        "chance@1": percent("chance_top1", 2),
        "chance@5": percent("chance_top5", 2),
        "colour@1": colour("top1"),
        "colour@5": colour("top5"),
    }
