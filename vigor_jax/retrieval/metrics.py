"""The six retrieval metrics of cross-view geo-localization."""

import numpy as np
from jaxtyping import Array, Float, Int

from vigor_jax.retrieval.ranks import Ranks, ranks


def fractions(found: Ranks) -> dict[str, float]:
    """Shares of the queries, each in 0..1.

    `top1`, `top5`, `top10`: the positive is among the first so many. `top1_percent`: its rank, counted from 0, is
    below int(0.01 M) + 1 of M references. `hit_rate`: no unrelated reference stands at or above the positive
    (VIGOR's train_overall.py). `hit_rate_covered`: the best reference is one of the query's own (VIGOR, section 4.2).
    Ties count against the model in all of them.

    Example:
      >>> import numpy as np
      >>> from vigor_jax.retrieval import Ranks, fractions
      >>> none_unrelated = np.array([0, 0])
      >>> second = Ranks(np.array([0, 1]), none_unrelated, none_unrelated, num_references=100)
      >>> [fractions(second)[name] for name in ("top1", "top5", "top1_percent", "hit_rate")]
      [0.5, 1.0, 1.0, 1.0]
    """
    one_percent = int(0.01 * found.num_references) + 1
    hits = {
        "top1": found.positive < 1,
        "top5": found.positive < 5,
        "top10": found.positive < 10,
        "top1_percent": found.positive < one_percent,
        "hit_rate": found.unrelated_above_positive == 0,
        "hit_rate_covered": found.unrelated_above_best == 0,
    }
    return {name: float(np.mean(hit)) for name, hit in hits.items()}


def rank_metrics(
    ground: Float[Array | np.ndarray, "ground_rows dim"],
    aerial: Float[Array | np.ndarray, "aerial_rows dim"],
    references: Int[Array | np.ndarray, "queries own"],
    *,
    num_aerial: int | None = None,
) -> dict[str, float]:
    """Exact retrieval metrics of queries against all references, streamed; see `ranks` for memory and errors.

    Example:
      >>> import numpy as np
      >>> from vigor_jax.retrieval import rank_metrics
      >>> aerial = np.eye(5, dtype=np.float32)
      >>> ground = np.array([[0.8, 0.6, 0, 0, 0], [0, 0, 0, 0.6, 0.8]], np.float32)
      >>> references = np.array([[0, 1], [3, 2]])  # the second panorama is more like tile 4, which is none of its own
      >>> metrics = rank_metrics(ground, aerial, references)
      >>> [metrics[name] for name in ("top1", "top5", "hit_rate", "hit_rate_covered")]
      [0.5, 1.0, 0.5, 0.5]

    Args:
      ground: unit embeddings of the panoramas [Q, D], on the host or on one or more devices; rows beyond
        len(references) are padding.
      aerial: unit embeddings of the tiles [M, D].
      references: [Q, 4] rows of `aerial`: the positive, then the semi-positives.
      num_aerial: rows of `aerial` from this one on are padding; None: there is none.

    Returns:
      The fractions named in `fractions`.
    """
    return fractions(ranks(ground, aerial, references, num_aerial=num_aerial))
