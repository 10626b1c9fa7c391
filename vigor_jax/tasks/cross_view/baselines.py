"""What stands beside every recall and is the same in every evaluation: sizes, chance, and what colour alone finds."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from vigor_jax.datasets.protocol import EvaluationSplit, chance
from vigor_jax.encoding.on_devices import DeviceRows
from vigor_jax.parallel.sharded_rows import place_rows
from vigor_jax.retrieval.colour_baseline import colour_histogram, mean_colour, standardise
from vigor_jax.retrieval.embeddings import both_views
from vigor_jax.retrieval.metrics import fractions
from vigor_jax.retrieval.ranks import ranks_question
from vigor_jax.retrieval.score_pass import score_pass

BASELINES = {"mean_colour": mean_colour, "colour_histogram": colour_histogram}
"""By the names of their metrics: images uint8 [batch, height, width, 3] to features [batch, dim]."""

Features = Mapping[str, jax.Array]  # of each baseline, float32 [padded, dim]


def colours(_: Any, images: jax.Array) -> dict[str, jax.Array]:
    """Describes images by every baseline. An `on_devices.Encode` that needs no variables."""
    return {name: describe(images) for name, describe in BASELINES.items()}


def constants(
    splits: Mapping[str, EvaluationSplit],
    ground: Features,
    aerial: Features,
    panoramas: DeviceRows,
    tiles: DeviceRows,
) -> dict[str, float]:
    """Measures {"<split>/<name>": value} of `queries`, `gallery`, `chance_*` and the baselines' `*_top1` and `*_top5`.

    Args:
      splits: by name.
      ground: of `colours`, of the panoramas of all splits, rows over the devices.
      aerial: likewise of the tiles.
      panoramas: where in these arrays each panorama lies.
      tiles: likewise.
    """
    mesh = tiles.mesh
    values: dict[str, float] = {}
    for name, split in splits.items():
        values[f"{name}/queries"] = float(len(split.panoramas))
        values[f"{name}/gallery"] = float(len(split.tiles))
        values |= {f"{name}/chance_{metric}": value for metric, value in chance(split).items()}
        rows = panoramas.of(split.panoramas), tiles.of(split.tiles)
        for baseline in BASELINES:
            features = ground[baseline], aerial[baseline]
            real = [place_rows(np.isin(np.arange(len(x)), some), mesh) for x, some in zip(features, rows, strict=True)]
            views = both_views(*_standardised(features, real, sharding=NamedSharding(mesh, P(mesh.axis_names))), *rows)
            (ranked,) = score_pass(*views, ranks_question(split.references, len(split.tiles)))
            found = fractions(ranked)
            values |= {f"{name}/{baseline}_{metric}": found[metric] for metric in ("top1", "top5")}
    return values


@functools.partial(jax.jit, static_argnames="sharding")
def _standardised(features, real, *, sharding):
    """Each view by its own mean and deviation, over the rows of the split."""
    return [jax.lax.with_sharding_constraint(standardise(*view), sharding) for view in zip(features, real, strict=True)]
