"""Evaluation of a cross-view model: embed every tile and panorama once, rank each split exactly, place the queries."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from vigor_jax.datasets.cross_view import CrossViewData
from vigor_jax.datasets.protocol import EvaluationSplit
from vigor_jax.encoding.on_devices import Encode, Encoder, encode_images, rows_of_images
from vigor_jax.encoding.stopping import never, stop_if_asked
from vigor_jax.models import CrossViewModel
from vigor_jax.models.cross_view import Encoded
from vigor_jax.models.symmetric_descriptor import panorama_symmetries, side_by_side, tile_symmetries
from vigor_jax.models.variables import Variables
from vigor_jax.retrieval import position
from vigor_jax.retrieval.assisted_navigation import assisted_metrics, assisted_question
from vigor_jax.retrieval.embeddings import Embeddings, both_views
from vigor_jax.retrieval.metrics import fractions
from vigor_jax.retrieval.ranks import ranks_question
from vigor_jax.retrieval.score_pass import score_pass
from vigor_jax.retrieval.top_k import top_k_question
from vigor_jax.retrieval.windows import windows
from vigor_jax.tasks.cross_view import baselines
from vigor_jax.tasks.cross_view.placing import OffsetHeadPlacing, Placing
from vigor_jax.tasks.task import Evaluated

_SHOWN = 5  # tiles a query that the report shows
# Of a zoom-20 pixel in every city, as VIGOR's authors have it; beside the true one for comparison.
_AUTHORS_METRES_PER_PX = 0.114


@dataclasses.dataclass(frozen=True)
class Encodings:
    """What a model makes of the images of all splits, rows over the devices as of `rows_of_images`."""

    aerial: Encoded
    ground: Encoded
    place: Placing | None  # None without an offset head


class Evaluation:
    """Metrics of every split, as a function of the variables.

    The splits share galleries, so the union of their tiles and of their queries is embedded once, stays where it is,
    and each split is searched in its rows of it. The colour baselines depend on the images alone: they are measured on
    the way of the first evaluation and kept.
    """

    def __init__(
        self,
        model: CrossViewModel,
        data: CrossViewData,
        splits: dict[str, EvaluationSplit],
        *,
        batch_size: int,
        threads: int,
        offset: Callable[[jax.Array], jax.Array] | None,
        symmetries: bool,
        seed: int,
    ):
        """Finds what is to be embedded.

        Args:
          model: of the variables.
          data: the prepared data set.
          splits: by name.
          batch_size: images embedded at a time, over all devices.
          threads: that read and decode.
          offset: how the offset head's outputs become offsets in halves of a tile; None if there is no head.
          symmetries: retrieve by the mean similarity over the eight symmetries of a tile, place by the mean offset.
          seed: of the noise of assisted navigation.
        """
        self._data = data
        self._splits = splits
        self._batch_size = batch_size
        self._threads = threads
        self._seed = seed
        self._tiles = np.unique(np.concatenate([split.tiles for split in splits.values()]))
        self._panoramas = np.unique(np.concatenate([split.panoramas for split in splits.values()]))
        encode_aerial = functools.partial(model.apply, method="encode_aerial_with_offset")
        encode_ground = functools.partial(model.apply, method="encode_ground_with_offset")
        if symmetries:
            encode_aerial = _in_all_symmetries(encode_aerial, tile_symmetries)
            encode_ground = _in_all_symmetries(encode_ground, panorama_symmetries)
        self._encode_aerial, self._encode_ground = Encoder(encode_aerial), Encoder(encode_ground)
        self._colours = Encoder(baselines.colours)
        self._placing = None if offset is None else OffsetHeadPlacing(model, offset, symmetries=symmetries)
        self._constants: dict[str, float] | None = None

    def __call__(self, variables: Variables, mesh: Mesh, should_stop: Callable[[], bool] = never) -> Evaluated:
        """Metrics and findings of every split, computed on the devices of the mesh.

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
        others = {} if self._constants is not None else {"colours": (self._colours, {})}
        aerial, ground = self._encode(variables, self._tiles, self._panoramas, mesh, others, should_stop)
        if self._constants is None:
            self._constants = self._measure_constants(ground.pop("colours"), aerial.pop("colours"), mesh)
        encodings = self._encodings(variables, aerial["model"], ground["model"], mesh)
        evaluated = self.evaluate(
            encodings.ground.embedding, encodings.aerial.embedding, encodings.place, mesh, should_stop
        )
        return Evaluated(evaluated.metrics | self._constants, evaluated.findings)

    def encode(self, variables: Variables, mesh: Mesh, should_stop: Callable[[], bool] = never) -> Encodings:
        """Every tile and panorama of the splits, for `evaluate`; `should_stop` as there, after every batch."""
        aerial, ground = self._encode(variables, self._tiles, self._panoramas, mesh, should_stop=should_stop)
        return self._encodings(variables, aerial["model"], ground["model"], mesh)

    def embed(
        self, variables: Variables, tiles: Int[np.ndarray, "tiles"], panoramas: Int[np.ndarray, "panoramas"], mesh: Mesh
    ) -> tuple[Float[np.ndarray, "tiles dim"], Float[np.ndarray, "panoramas dim"]]:
        """Embeddings of any images, rows of the data set, on the host: (of tiles, of panoramas)."""
        found = self._encode(variables, tiles, panoramas, mesh)
        aerial, ground = (
            np.asarray(encoded["model"].embedding)[rows_of_images(len(rows), self._batch_size, mesh)]
            for encoded, rows in zip(found, (tiles, panoramas), strict=True)
        )
        return aerial, ground

    def evaluate(
        self,
        ground: Float[Array, "padded_panoramas dim"],
        aerial: Float[Array, "padded_tiles dim"],
        place: Placing | None,
        mesh: Mesh,
        should_stop: Callable[[], bool] = never,
    ) -> Evaluated:
        """Metrics and findings of every split by given embeddings, without the constants that stand beside them.

        Args:
          ground: of the panoramas, row by row as in `encode`'s result; its own or made of them, of any dimension.
          aerial: of the tiles.
          place: of `encode`'s result.
          mesh: whose devices hold the embeddings.
          should_stop: asked before every split.

        Raises:
          EvaluationError: embeddings or offsets that are not finite.
          EvaluationStopped: `should_stop` said so.
        """
        metrics: dict[str, float] = {}
        findings: dict[str, np.ndarray] = {}
        rows = self._panorama_rows(self._panoramas, mesh), self._tile_rows(self._tiles, mesh)
        views = both_views(ground, aerial, *rows)
        for name in self._splits:
            stop_if_asked(should_stop)
            found, single = self._evaluate_split(name, *views, place)
            metrics |= {f"{name}/{metric}": value for metric, value in found.items()}
            findings |= {f"{name}/{key}": value for key, value in single.items()}
        return Evaluated(metrics, findings)

    def table(self, metrics: dict[str, float]) -> dict[str, dict[str, str]]:
        """Of each split measured the columns of the epoch table, with what the recall must be compared to."""
        return {split: _row(split, metrics) for split in self._splits if f"{split}/top1" in metrics}

    def _encode(
        self,
        variables: Variables,
        tiles: Int[np.ndarray, "tiles"],
        panoramas: Int[np.ndarray, "panoramas"],
        mesh: Mesh,
        others: dict[str, tuple[Encoder, Variables]] | None = None,
        should_stop: Callable[[], bool] = never,
    ) -> tuple[dict, dict]:
        """Of tiles and of panoramas, rows of the data set: what "model" and each of the others makes of them."""
        encode = functools.partial(
            encode_images, mesh=mesh, batch_size=self._batch_size, threads=self._threads, should_stop=should_stop
        )
        data, others = self._data, others or {}
        return (
            encode(data.aerial, data.tiles.names, tiles, {"model": (self._encode_aerial, variables), **others}),
            encode(data.ground, data.panoramas.names, panoramas, {"model": (self._encode_ground, variables), **others}),
        )

    def _encodings(self, variables: Variables, aerial: Encoded, ground: Encoded, mesh: Mesh) -> Encodings:
        if self._placing is None:
            return Encodings(aerial, ground, None)

        def place(
            panoramas: Int[np.ndarray, "queries"], tiles: Int[np.ndarray, "queries"]
        ) -> Float[np.ndarray, "queries 2"]:
            features = aerial.offset_features, ground.offset_features
            rows = self._tile_rows(tiles, mesh), self._panorama_rows(panoramas, mesh)
            return self._placing(variables, *features, *rows, mesh)

        return Encodings(aerial, ground, place)

    def _tile_rows(self, tiles: Int[np.ndarray, "some"], mesh: Mesh) -> Int[np.ndarray, "some"]:
        """Where the tiles, rows of the data set, lie in `encode`'s arrays."""
        return rows_of_images(len(self._tiles), self._batch_size, mesh)[np.searchsorted(self._tiles, tiles)]

    def _panorama_rows(self, panoramas: Int[np.ndarray, "some"], mesh: Mesh) -> Int[np.ndarray, "some"]:
        return rows_of_images(len(self._panoramas), self._batch_size, mesh)[np.searchsorted(self._panoramas, panoramas)]

    def _evaluate_split(
        self, name: str, ground: Embeddings, aerial: Embeddings, place: Placing | None
    ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Metrics and findings of one split, from the embeddings of the unions."""
        split, panoramas, tiles = self._splits[name], self._data.panoramas, self._data.tiles
        ranked, (_, best), assisted = score_pass(
            ground.take(np.searchsorted(self._panoramas, split.panoramas)),
            aerial.take(np.searchsorted(self._tiles, split.tiles)),
            ranks_question(split.references, len(split.tiles)),
            top_k_question(min(_SHOWN, len(split.tiles)), len(split.panoramas)),
            assisted_question(self._windows[name]),
        )
        first = split.tiles[best[:, 0]]

        truth = panoramas.lat[split.panoramas], panoramas.lon[split.panoramas]
        found = tiles.lat[first], tiles.lon[first]
        offset_px = np.zeros((len(first), 2))
        centre_error_m = position.position_errors_m(*truth, *found, offset_px)
        hits = ranked.positive == 0
        metrics = fractions(ranked) | _prefixed("centre_", position.summary(centre_error_m))
        if hits.any():
            metrics["centre_found_median_m"] = float(np.median(centre_error_m[hits]))
        findings = {
            "panorama": split.panoramas.astype(np.int32),
            "rank": ranked.positive.astype(np.int32),
            "top5": split.tiles[best].astype(np.int32),
            "centre_error_m": centre_error_m.astype(np.float32),
        }
        if place is not None:
            offset_px = place(split.panoramas, first)
            error_m = position.position_errors_m(*truth, *found, offset_px)
            fixed_m = position.position_errors_m(*truth, *found, offset_px, _AUTHORS_METRES_PER_PX)
            metrics |= position.summary(error_m) | _prefixed("fixed_resolution_", position.summary(fixed_m))
            if hits.any():
                metrics["found_median_m"] = float(np.median(error_m[hits]))
            findings |= {"offset_px": offset_px.astype(np.float32), "error_m": error_m.astype(np.float32)}

        gallery_at = tiles.lat[split.tiles], tiles.lon[split.tiles]
        offset_px = None if place is None else place(split.panoramas, split.tiles[assisted.top1])
        metrics |= _prefixed("assisted_", assisted_metrics(assisted, *truth, *gallery_at, offset_px))
        return metrics, findings

    @functools.cached_property
    def _windows(self) -> dict[str, Int[np.ndarray, "queries candidates"]]:
        """Of every split, equally wide, so that one program serves all."""
        panoramas, tiles = self._data.panoramas, self._data.tiles
        found = {
            name: windows(
                split.references[:, 0],
                panoramas.lat[split.panoramas],
                panoramas.lon[split.panoramas],
                tiles.lat[split.tiles],
                tiles.lon[split.tiles],
                seed=self._seed,
            )
            for name, split in self._splits.items()
        }
        widest = max(table.shape[1] for table in found.values())
        return {
            name: np.pad(table, ((0, 0), (0, widest - table.shape[1])), constant_values=-1)
            for name, table in found.items()
        }

    def _measure_constants(
        self, ground: baselines.Features, aerial: baselines.Features, mesh: Mesh
    ) -> dict[str, float]:
        return baselines.constants(
            self._splits,
            ground,
            aerial,
            {name: self._panorama_rows(split.panoramas, mesh) for name, split in self._splits.items()},
            {name: self._tile_rows(split.tiles, mesh) for name, split in self._splits.items()},
            mesh,
        )


def _in_all_symmetries(encode: Encode, symmetries: Callable[[jax.Array], list[jax.Array]]) -> Encode:
    """Searches and places by all symmetries of an image."""

    def encode_all(variables: Variables, images: jax.Array) -> Encoded:
        # One after the other: the program holds the model once, and the memory of one.
        every = jax.lax.map(functools.partial(encode, variables), jnp.stack(symmetries(images)))
        return Encoded(side_by_side(list(every.embedding)), jnp.concatenate(list(every.offset_features), axis=1))

    return encode_all


def _prefixed(prefix: str, metrics: dict[str, float]) -> dict[str, float]:
    return {prefix + name: value for name, value in metrics.items()}


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
