"""Evaluation of a cross-view model: embed every tile and panorama once, rank each split exactly."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from vigor_jax.datasets.cross_view import CrossViewData, EncodedImages
from vigor_jax.datasets.protocol import EvaluationSplit, chance
from vigor_jax.input.batches import image_batches
from vigor_jax.input.device_feed import DeviceFeed
from vigor_jax.models import CrossViewModel
from vigor_jax.retrieval import rank_metrics
from vigor_jax.retrieval.colour_baseline import colour_histogram, mean_colour, standardise
from vigor_jax.tasks.task import Variables

_BASELINES = {"mean_colour": jax.jit(mean_colour), "colour_histogram": jax.jit(colour_histogram)}


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
    ):
        self._data = data
        self._splits = splits
        self._batch_size = batch_size
        self._threads = threads
        self._tiles = np.unique(np.concatenate([split.tiles for split in splits.values()]))
        self._panoramas = np.unique(np.concatenate([split.panoramas for split in splits.values()]))
        self._encode_aerial = jax.jit(lambda variables, images: model.apply(variables, images, method="encode_aerial"))
        self._encode_ground = jax.jit(lambda variables, images: model.apply(variables, images, method="encode_ground"))
        self._constants: dict[str, float] | None = None

    def __call__(self, variables: Variables, mesh: Mesh) -> dict[str, float]:
        """`{"<split>/<metric>": value}` on the devices of the mesh.

        Raises:
          EvaluationError: embeddings that are not finite.
        """
        baselines = _BASELINES if self._constants is None else {}
        encode_aerial = functools.partial(self._encode_aerial, variables)
        encode_ground = functools.partial(self._encode_ground, variables)
        aerial = self._embed(
            self._data.aerial, self._data.tiles.names, self._tiles, {"model": encode_aerial, **baselines}, mesh
        )
        ground = self._embed(
            self._data.ground, self._data.panoramas.names, self._panoramas, {"model": encode_ground, **baselines}, mesh
        )
        if self._constants is None:
            self._constants = self._measure_constants(
                {name: self._rank(ground[name], aerial[name], mesh, standardised=True) for name in baselines}
            )
        return self._rank(ground["model"], aerial["model"], mesh) | self._constants

    def table(self, metrics: dict[str, float]) -> dict[str, dict[str, str]]:
        """For each split the columns of the epoch table, with what the recall must be compared to."""
        return {split: _row(split, metrics) for split in self._splits}

    def _embed(
        self,
        images: EncodedImages,
        names: Sequence[str],
        rows: Int[np.ndarray, "images"],
        encoders: dict[str, Callable[[jax.Array], jax.Array]],
        mesh: Mesh,
    ) -> dict[str, Float[Array, "padded dim"]]:
        """Every encoder's embedding of the images in `rows`, over the devices; rows past len(rows) are padding."""
        batch_size = -(-self._batch_size // mesh.size) * mesh.size
        hosts = jax.process_count()
        # Each host decodes its part of each batch; the last batch is filled up with the first image.
        padded = np.concatenate([rows, np.full(-len(rows) % batch_size, rows[0])])
        local = padded.reshape(-1, hosts, batch_size // hosts)[:, jax.process_index()].ravel()
        decoded = image_batches(images, local, batch_size // hosts, self._threads, names=names)
        batches = ({"images": batch} for batch, _ in decoded)
        collected: dict[str, list[jax.Array]] = {name: [] for name in encoders}
        with DeviceFeed(batches, mesh) as feed:
            for batch in feed:
                for name, encode in encoders.items():
                    collected[name].append(encode(batch["images"]))
        rows_over_devices = NamedSharding(mesh, P("data"))
        return {name: _concatenate(parts, rows_over_devices) for name, parts in collected.items()}

    def _rank(
        self, ground: jax.Array, aerial: jax.Array, mesh: Mesh, *, standardised: bool = False
    ) -> dict[str, float]:
        """Retrieval metrics of every split from the embeddings of the unions, or features to be standardised first."""
        metrics = {}
        for name, split in self._splits.items():
            queries = _select(ground, np.searchsorted(self._panoramas, split.panoramas), mesh)
            gallery = _select(aerial, np.searchsorted(self._tiles, split.tiles), mesh)
            if standardised:
                queries = _standardise(queries, len(split.panoramas), NamedSharding(mesh, P("data")))
                gallery = _standardise(gallery, len(split.tiles), NamedSharding(mesh, P("data")))
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


@functools.partial(jax.jit, static_argnames="sharding")
def _concatenate(parts: list[jax.Array], sharding: NamedSharding) -> jax.Array:
    return jax.lax.with_sharding_constraint(jnp.concatenate(parts), sharding)


@functools.partial(jax.jit, static_argnames="sharding")
def _take(embeddings: jax.Array, rows: jax.Array, sharding: NamedSharding) -> jax.Array:
    return jax.lax.with_sharding_constraint(embeddings[rows], sharding)


@functools.partial(jax.jit, static_argnames="sharding")
def _standardise(features: jax.Array, count: int | jax.Array, sharding: NamedSharding) -> jax.Array:
    return jax.lax.with_sharding_constraint(standardise(features, count), sharding)


def _select(embeddings: jax.Array, rows: Int[np.ndarray, "rows"], mesh: Mesh) -> jax.Array:
    """Rows of sharded embeddings, again over the devices, padded to a multiple of them."""
    rows = np.concatenate([rows, np.zeros(-len(rows) % mesh.size, rows.dtype)])
    return _take(embeddings, rows, NamedSharding(mesh, P("data")))
