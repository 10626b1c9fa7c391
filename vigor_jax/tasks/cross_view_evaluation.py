"""Evaluation of a cross-view model: embed every tile and panorama once, rank each split exactly, place the queries."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from vigor_jax import geometry
from vigor_jax.datasets.cross_view import CrossViewData, EncodedImages
from vigor_jax.datasets.protocol import EvaluationSplit, chance
from vigor_jax.input.batches import image_batches
from vigor_jax.input.device_feed import DeviceFeed
from vigor_jax.models import CrossViewModel
from vigor_jax.models.cross_view import Encoded
from vigor_jax.models.symmetric_descriptor import panorama_symmetries, side_by_side, tile_symmetries, upright_offset
from vigor_jax.retrieval import position, rank_metrics
from vigor_jax.retrieval.assisted_navigation import assisted_metrics, assisted_ranks
from vigor_jax.retrieval.colour_baseline import colour_histogram, mean_colour, standardise
from vigor_jax.retrieval.metrics import fractions
from vigor_jax.retrieval.ranks import ranks
from vigor_jax.retrieval.top_k import top_k
from vigor_jax.tasks.task import Evaluated, EvaluationStopped, Variables, never

_BASELINES = {"mean_colour": jax.jit(mean_colour), "colour_histogram": jax.jit(colour_histogram)}
_SHOWN = 5  # tiles a query that the report shows
# Of a zoom-20 pixel in every city, as VIGOR's authors have it; beside the true one for comparison.
_AUTHORS_METRES_PER_PX = 0.114
# Of panoramas and a tile for each, rows of the data set, to their offsets [queries, 2] in pixels.
Placing = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Encodings:
    """What a model makes of the images of all splits, rows over the devices; the last ones are padding."""

    aerial: Encoded
    ground: Encoded
    place: Placing | None  # None without an offset head


class Evaluation:
    """Metrics of every split, as a function of the variables.

    The splits share galleries, so the union of their tiles and of their queries is embedded once. The colour
    baselines depend on the images alone: they are measured on the way of the first evaluation and kept.
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
        self._symmetries = symmetries
        self._tiles = np.unique(np.concatenate([split.tiles for split in splits.values()]))
        self._panoramas = np.unique(np.concatenate([split.panoramas for split in splits.values()]))

        def encode(method: str) -> Callable[[Variables, jax.Array], Encoded]:
            return jax.jit(lambda variables, images: model.apply(variables, images, method=method))

        self._encode_aerial = encode("encode_aerial_with_offset")
        self._encode_ground = encode("encode_ground_with_offset")
        self._offset = None
        if offset is not None:

            def offset_of(
                variables: Variables, aerial: jax.Array, ground: jax.Array, sharding: NamedSharding
            ) -> Float[Array, "padded 2"]:
                views = [jnp.split(features, 8 if symmetries else 1, axis=1) for features in (aerial, ground)]
                offsets = [offset(model.apply(variables, *pair, method="offset")) for pair in zip(*views, strict=True)]
                placed = upright_offset(offsets) if symmetries else offsets[0]
                return jax.lax.with_sharding_constraint(placed, sharding)

            self._offset = jax.jit(offset_of, static_argnames="sharding")
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
        baselines = _BASELINES if self._constants is None else {}
        aerial, ground = self._encode(variables, self._tiles, self._panoramas, mesh, baselines, should_stop)
        if self._constants is None:
            self._constants = self._measure_constants(
                {name: self._rank_baseline(ground[name], aerial[name], mesh) for name in baselines}
            )
        encodings = self._encodings(variables, aerial["model"], ground["model"], mesh)
        evaluated = self.evaluate(
            encodings.ground.embedding, encodings.aerial.embedding, encodings.place, mesh, should_stop
        )
        return Evaluated(evaluated.metrics | self._constants, evaluated.findings)

    def encode(self, variables: Variables, mesh: Mesh) -> Encodings:
        """Every tile and panorama of the splits, for `evaluate`."""
        aerial, ground = self._encode(variables, self._tiles, self._panoramas, mesh)
        return self._encodings(variables, aerial["model"], ground["model"], mesh)

    def embed(
        self, variables: Variables, tiles: Int[np.ndarray, "tiles"], panoramas: Int[np.ndarray, "panoramas"], mesh: Mesh
    ) -> tuple[Float[Array, "padded_tiles dim"], Float[Array, "padded_panoramas dim"]]:
        """Embeddings of any images, rows of the data set: (of tiles, of panoramas), over the devices and padded."""
        aerial, ground = self._encode(variables, tiles, panoramas, mesh)
        return aerial["model"].embedding, ground["model"].embedding

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
        for name, split in self._splits.items():
            _stop_if_asked(should_stop)
            found, single = self._evaluate_split(split, ground, aerial, place, mesh)
            metrics |= {f"{name}/{metric}": value for metric, value in found.items()}
            findings |= {f"{name}/{key}": value for key, value in single.items()}
        return Evaluated(metrics, findings)

    def table(self, metrics: dict[str, float]) -> dict[str, dict[str, str]]:
        """For each split the columns of the epoch table, with what the recall must be compared to."""
        return {split: _row(split, metrics) for split in self._splits}

    def _encode(
        self,
        variables: Variables,
        tiles: Int[np.ndarray, "tiles"],
        panoramas: Int[np.ndarray, "panoramas"],
        mesh: Mesh,
        others: Mapping[str, Callable[[jax.Array], Any]] = MappingProxyType({}),
        should_stop: Callable[[], bool] = never,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Of tiles and of panoramas, rows of the data set: what "model" and each of the others makes of them."""
        encode_aerial = functools.partial(self._encode_aerial, variables)
        encode_ground = functools.partial(self._encode_ground, variables)
        if self._symmetries:
            encode_aerial = _symmetric(encode_aerial, tile_symmetries)
            encode_ground = _symmetric(encode_ground, panorama_symmetries)
        aerial, ground = {"model": encode_aerial, **others}, {"model": encode_ground, **others}
        return (
            self._embed(self._data.aerial, self._data.tiles.names, tiles, aerial, mesh, should_stop),
            self._embed(self._data.ground, self._data.panoramas.names, panoramas, ground, mesh, should_stop),
        )

    def _encodings(self, variables: Variables, aerial: Encoded, ground: Encoded, mesh: Mesh) -> Encodings:
        place = None if self._offset is None else self._placing(variables, ground, aerial, mesh)
        return Encodings(aerial, ground, place)

    def _embed(
        self,
        images: EncodedImages,
        names: Sequence[str],
        rows: Int[np.ndarray, "images"],
        encoders: dict[str, Callable[[jax.Array], Any]],
        mesh: Mesh,
        should_stop: Callable[[], bool],
    ) -> dict[str, Any]:
        """Every encoder's results for the images in `rows`, over the devices; rows past len(rows) are padding."""
        batch_size = -(-self._batch_size // mesh.size) * mesh.size
        hosts = jax.process_count()
        # Each host decodes its part of each batch; the last batch is filled up with the first image.
        padded = np.concatenate([rows, np.full(-len(rows) % batch_size, rows[0])])
        local = padded.reshape(-1, hosts, batch_size // hosts)[:, jax.process_index()].ravel()
        decoded = image_batches(images, local, batch_size // hosts, self._threads, names=names)
        batches = ({"images": batch} for batch, _ in decoded)
        collected: dict[str, list[Any]] = {name: [] for name in encoders}
        with DeviceFeed(batches, mesh) as feed:
            for batch in feed:
                for name, encode in encoders.items():
                    collected[name].append(encode(batch["images"]))
                _stop_if_asked(should_stop)
        return {name: _concatenate(parts, _rows(mesh)) for name, parts in collected.items()}

    def _evaluate_split(
        self,
        split: EvaluationSplit,
        ground: Float[Array, "padded_panoramas dim"],
        aerial: Float[Array, "padded_tiles dim"],
        place: Placing | None,
        mesh: Mesh,
    ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Metrics and findings of one split, from the embeddings of the unions."""
        panoramas, tiles = self._data.panoramas, self._data.tiles
        queries = _select(ground, np.searchsorted(self._panoramas, split.panoramas), mesh)
        gallery = _select(aerial, np.searchsorted(self._tiles, split.tiles), mesh)
        sizes = {"num_ground": len(split.panoramas), "num_aerial": len(split.tiles)}
        ranked = ranks(queries, gallery, split.references, num_aerial=len(split.tiles))
        _, best = top_k(queries, gallery, min(_SHOWN, len(split.tiles)), **sizes)
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
        assisted = assisted_ranks(queries, gallery, split.references, *truth, *gallery_at, seed=self._seed)
        offset_px = None if place is None else place(split.panoramas, split.tiles[assisted.top1])
        metrics |= _prefixed("assisted_", assisted_metrics(assisted, *truth, *gallery_at, offset_px))
        return metrics, findings

    def _placing(self, variables: Variables, ground: Encoded, aerial: Encoded, mesh: Mesh) -> Placing:

        def place(
            panoramas: Int[np.ndarray, "queries"], tiles: Int[np.ndarray, "queries"]
        ) -> Float[np.ndarray, "queries 2"]:
            of_tiles = _select(aerial.offset_features, np.searchsorted(self._tiles, tiles), mesh)
            of_queries = _select(ground.offset_features, np.searchsorted(self._panoramas, panoramas), mesh)
            # Whole on every device, for each host to read.
            offset = self._offset(variables, of_tiles, of_queries, sharding=NamedSharding(mesh, P()))
            return np.asarray(offset, np.float64)[: len(panoramas)] * (geometry.TILE_PX / 2)

        return place

    def _rank_baseline(self, ground: jax.Array, aerial: jax.Array, mesh: Mesh) -> dict[str, float]:
        """Retrieval metrics of every split from features of the unions, standardised within the split."""
        metrics = {}
        for name, split in self._splits.items():
            queries = _select(ground, np.searchsorted(self._panoramas, split.panoramas), mesh)
            gallery = _select(aerial, np.searchsorted(self._tiles, split.tiles), mesh)
            queries = _standardise(queries, len(split.panoramas), _rows(mesh))
            gallery = _standardise(gallery, len(split.tiles), _rows(mesh))
            found = rank_metrics(queries, gallery, split.references, num_aerial=len(split.tiles))
            metrics |= {f"{name}/{metric}": value for metric, value in found.items()}
        return metrics

    def _measure_constants(self, baselines: dict[str, dict[str, float]]) -> dict[str, float]:
        """What stands beside every recall: sizes, chance, and what colour alone finds."""
        constants: dict[str, float] = {}
        for name, split in self._splits.items():
            constants[f"{name}/queries"] = float(len(split.panoramas))
            constants[f"{name}/gallery"] = float(len(split.tiles))
            constants |= {f"{name}/chance_{metric}": value for metric, value in chance(split).items()}
            for baseline, found in baselines.items():
                for metric in ("top1", "top5"):
                    constants[f"{name}/{baseline}_{metric}"] = found[f"{name}/{metric}"]
        return constants


def _row(split: str, metrics: dict[str, float]) -> dict[str, str]:
    def percent(name: str, digits: int = 1) -> str:
        return f"{100 * metrics[f'{split}/{name}']:.{digits}f}"

    def colour(metric: str) -> str:
        return f"{100 * max(metrics[f'{split}/{baseline}_{metric}'] for baseline in _BASELINES):.1f}"

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


def _symmetric(
    encode: Callable[[jax.Array], Encoded], symmetries: Callable[[jax.Array], list[jax.Array]]
) -> Callable[[jax.Array], Encoded]:
    """Searches and places by all symmetries of an image."""

    def encode_all(images: jax.Array) -> Encoded:
        embeddings, features = zip(*(encode(turned) for turned in symmetries(images)), strict=True)
        return Encoded(side_by_side(list(embeddings)), jnp.concatenate(features, axis=1))

    return encode_all


def _stop_if_asked(should_stop: Callable[[], bool]) -> None:
    if should_stop():
        raise EvaluationStopped


def _prefixed(prefix: str, metrics: dict[str, float]) -> dict[str, float]:
    return {prefix + name: value for name, value in metrics.items()}


def _rows(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, P("data"))


@functools.partial(jax.jit, static_argnames="sharding")
def _concatenate(parts: list[Any], sharding: NamedSharding) -> Any:
    return jax.lax.with_sharding_constraint(jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts), sharding)


@functools.partial(jax.jit, static_argnames="sharding")
def _take(embeddings: jax.Array, rows: jax.Array, sharding: NamedSharding) -> jax.Array:
    return jax.lax.with_sharding_constraint(embeddings[rows], sharding)


@functools.partial(jax.jit, static_argnames="sharding")
def _standardise(features: jax.Array, count: int | jax.Array, sharding: NamedSharding) -> jax.Array:
    return jax.lax.with_sharding_constraint(standardise(features, count), sharding)


def _select(embeddings: jax.Array, rows: Int[np.ndarray, "rows"], mesh: Mesh) -> jax.Array:
    """Rows of sharded embeddings, again over the devices, padded to a multiple of them."""
    rows = np.concatenate([rows, np.zeros(-len(rows) % mesh.size, rows.dtype)])
    return _take(embeddings, rows, _rows(mesh))
