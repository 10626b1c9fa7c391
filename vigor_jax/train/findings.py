"""What the last evaluation found for single examples, in one file: `findings.npz`."""

from pathlib import Path

import numpy as np

FILE_NAME = "findings.npz"


def write(directory: Path, step: int, findings: dict[str, np.ndarray]) -> Path:
    """Writes the findings of the evaluation after `step` updates whole or not at all; returns their path."""
    path = directory / FILE_NAME
    unfinished = path.with_suffix(".tmp")
    with unfinished.open("wb") as file:
        np.savez_compressed(file, step=np.int64(step), **findings)
    unfinished.replace(path)
    return path
