"""Random numbers that are functions of the seed, what they are for, and a position in the data."""

import zlib

import numpy as np


def fold(seed: int, purpose: str, *position: int) -> np.random.SeedSequence:
    """Gives the entropy for one draw, equal on every host and in every resumed run.

    Args:
      seed: of the run; not negative.
      purpose: a name that keeps this stream apart from the others of the same seed.
      position: where in the stream, e.g. (epoch,) or (step, slot).
    """
    return np.random.SeedSequence(seed, spawn_key=(zlib.crc32(purpose.encode()), *position))
