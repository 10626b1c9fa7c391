"""Which of many examples are shown."""

import numpy as np
from jaxtyping import Int

TITLES = ("Best", "Spread evenly between", "Worst")


def best_between_worst(
    order: Int[np.ndarray, "examples"], each: int
) -> tuple[Int[np.ndarray, "best"], Int[np.ndarray, "between"], Int[np.ndarray, "worst"]]:
    """As many of each kind, none twice; worst first among the worst.

    Those between are at even distances in the order, so that they show the usual case and are nobody's choice.

    Args:
      order: of the examples, from the best to the worst.
      each: how many of a kind.
    """
    best, rest = order[:each], order[each:]
    worst, rest = rest[::-1][:each], rest[: max(0, len(rest) - each)]
    shown = min(each, len(rest))
    between = rest[((np.arange(shown) + 0.5) * len(rest) / max(1, shown)).astype(int)]
    return best, between, worst
