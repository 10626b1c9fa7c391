"""S2 cell ids as integers: what contains what, by arithmetic on whole arrays.

An id has 64 bits: three for the face of the cube, two for each level's choice among four children in the order of the
Hilbert curve, then a one and zeros. So a cell's descendants are the ids about its own, as far as its lowest one
reaches, and ids of cells that do not overlap are in the curve's order (S2's developer guide, "S2Cell Hierarchy").
"""

import numpy as np
from jaxtyping import Bool, UInt64

DEEPEST = 30  # level of the leaf cells
_FACES = 6
_LOWEST_ONES = np.uint64(0x1555555555555555)  # the places where the lowest one of an id may stand


def parents(ids: UInt64[np.ndarray, "cells"], level: int) -> UInt64[np.ndarray, "cells"]:
    """The cells of a level, 0 (a face) to 30, that contain cells of that level or deeper."""
    lowest = np.uint64(1) << np.uint64(2 * (DEEPEST - level))
    return (ids & ~(lowest - np.uint64(1))) | lowest


def leaf_span(
    ids: UInt64[np.ndarray, "cells"],
) -> tuple[UInt64[np.ndarray, "cells"], UInt64[np.ndarray, "cells"]]:
    """(first, last) leaf cell of each cell, both within it."""
    reach = (ids & (~ids + np.uint64(1))) - np.uint64(1)
    return ids - reach, ids + reach


def valid(ids: UInt64[np.ndarray, "cells"]) -> Bool[np.ndarray, "cells"]:
    """Whether each is the id of a cell."""
    lowest = ids & (~ids + np.uint64(1))
    return (ids >> np.uint64(61) < _FACES) & ((lowest & _LOWEST_ONES) != 0)


def token(cell: int) -> str:
    """S2's short name of a cell: the hexadecimal digits of its id, without the zeros at their end."""
    return f"{cell:016x}".rstrip("0")


def from_token(name: str) -> int:
    """The id of which this is the token.

    Raises:
      ValueError: it is none.
    """
    if not 1 <= len(name) <= 16:
        raise ValueError(f"{name!r} is no token: 1 to 16 hexadecimal digits")
    return int(name.ljust(16, "0"), 16)
