"""Search around a noisy GPS position: assisted navigation (VIGOR; the authors' evaluate_from_npy.py)."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vigor_jax.retrieval.embeddings import both_views
from vigor_jax.retrieval.errors import EvaluationError
from vigor_jax.retrieval.position import position_errors_m, summary
from vigor_jax.retrieval.references import require_references
from vigor_jax.retrieval.score_pass import Question, Reader, count, score_pass
from vigor_jax.retrieval.windows import windows


@dataclasses.dataclass(frozen=True)
class AssistedRanks:
    """What each query finds among the tiles of its window; ties count against the positive."""

    positive: Int[np.ndarray, "queries"]  # other tiles of the window that score at least as high as the positive
    window: Int[np.ndarray, "queries"]  # tiles in the window
    top1: Int[np.ndarray, "queries"]  # row of the tile that is found; the positive only where nothing ties with it


def assisted_ranks(
    ground: Float[Array | np.ndarray, "ground_rows dim"],
    aerial: Float[Array | np.ndarray, "aerial_rows dim"],
    references: Int[Array | np.ndarray, "queries own"],
    query_lat: Float[np.ndarray, "queries"],
    query_lon: Float[np.ndarray, "queries"],
    tile_lat: Float[np.ndarray, "tiles"],
    tile_lon: Float[np.ndarray, "tiles"],
    *,
    seed: int,
    noise_m: float = 100.0,
    window_m: float = 200.0,
    query_block: int | None = None,
    reference_block: int | None = None,
) -> AssistedRanks:
    """Ranks each query's positive among the tiles of its window (`windows.windows`).

    The scores are those of the whole gallery, of which the windows' are kept: in an evaluation, which makes them
    anyhow, this costs next to nothing. Scores, ties, blocks, memory and devices are as in `ranks`.

    Args:
      ground: embeddings of the panoramas; rows beyond len(references) are padding.
      aerial: embeddings of the tiles; rows beyond len(tile_lat) are padding.
      references: rows of `aerial`, the positive first. The others are not used.
      query_lat: degrees, the true positions.
      query_lon: degrees.
      tile_lat: degrees, of the tiles' centres.
      tile_lon: degrees.
      seed: of the noise.
      noise_m: largest noise along each axis.
      window_m: half the side of the window.
      query_block: queries scored at once, over all devices; None: see `score_pass`.
      reference_block: tiles scored at once, on each device; likewise.

    Returns:
      In the order of `references`, on the host.

    Raises:
      EvaluationError: sizes that do not match, a positive that is not in its window, non-finite embeddings.
    """
    references = np.asarray(references)
    if len(tile_lat) > aerial.shape[0]:
        raise EvaluationError(f"{len(tile_lat)} tiles have a position but only {aerial.shape[0]} have an embedding.")
    require_references(references[:, :1], ground.shape[0], len(tile_lat))
    candidates = windows(
        references[:, 0],
        query_lat,
        query_lon,
        tile_lat,
        tile_lon,
        seed=seed,
        noise_m=noise_m,
        window_m=window_m,
    )
    views = both_views(ground, aerial, np.arange(len(references)), np.arange(len(tile_lat)))
    (found,) = score_pass(
        *views, assisted_question(candidates), query_block=query_block, reference_block=reference_block
    )
    return found


def assisted_question(candidates: Int[np.ndarray, "queries candidates"]) -> Question:
    """`assisted_ranks` as a question of a pass.

    Args:
      candidates: of `windows.windows`, numbers in the gallery.
    """

    def answer(found: np.ndarray) -> AssistedRanks:
        positive, column = found.T
        top1 = np.take_along_axis(candidates, column[:, None], axis=1)[:, 0]
        return AssistedRanks(positive, (candidates >= 0).sum(axis=1), top1)

    return Question(_Window(), candidates, answer)


def assisted_metrics(
    found: AssistedRanks,
    query_lat: Float[np.ndarray, "queries"],
    query_lon: Float[np.ndarray, "queries"],
    tile_lat: Float[np.ndarray, "tiles"],
    tile_lon: Float[np.ndarray, "tiles"],
    offset_px: Float[np.ndarray, "queries 2"] | None = None,
    metres_per_px: float | None = None,
) -> dict[str, float]:
    """`top1` and `top5` as shares, `window` (mean tiles in it), and the `position.summary` of the tiles found.

    Args:
      found: of `assisted_ranks`.
      query_lat: degrees, the true positions.
      query_lon: degrees.
      tile_lat: degrees, of the whole gallery, as given to `assisted_ranks`.
      tile_lon: degrees.
      offset_px: predicted for each query in the tile `found.top1`; None: the tile's centre.
      metres_per_px: as of `position_errors_m`.
    """
    if offset_px is None:
        offset_px = np.zeros((len(found.top1), 2))
    errors = position_errors_m(
        query_lat, query_lon, tile_lat[found.top1], tile_lon[found.top1], offset_px, metres_per_px
    )
    return {
        "top1": float(np.mean(found.positive < 1)),
        "top5": float(np.mean(found.positive < 5)),
        "window": float(np.mean(found.window)),
        **summary(errors),
    }


@dataclasses.dataclass(frozen=True)
class _Window(Reader):
    """Rank of the positive and the column of the tile found, [queries, 2]. It asks for windows."""

    def begin(self, queries, slots, slack, gallery):
        return (slots, slack), jnp.full(slots.shape, -jnp.inf, jnp.float32)

    def see(self, fixed, state, block):
        return jnp.maximum(state, block.of(fixed[0]))

    def end(self, fixed, state, axes):
        scores = jax.lax.pmax(state, axes)
        positive, others = scores[:, 0], scores[:, 1:]
        above = count(others >= (positive - fixed[1])[:, None])
        column = jnp.where(above > 0, 1 + jnp.argmax(others, axis=1), 0)
        return jnp.stack([above, column.astype(jnp.int32)], axis=1)
