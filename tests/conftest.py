"""Eight host devices for every test, and where the reference material lies."""

import os

# Before JAX is imported: sharded code is tested on 1 to 8 devices of one CPU.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from pathlib import Path

import numpy as np
import pytest

_SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def vigor_reference() -> dict[str, np.ndarray]:
    """Inputs and outputs of the VIGOR authors' own code."""
    path = _SHARED / "reference" / "vigor_reference.npz"
    if not path.exists():
        pytest.skip(f"the authors' reference values are not beside the repository ({path.name})")
    with np.load(path) as archive:
        return dict(archive)


@pytest.fixture(scope="session")
def vigor_label_archive() -> Path:
    """The published corrected labels of VIGOR."""
    path = _SHARED / "data" / "vigor_labels.tar.xz"
    if not path.exists():
        pytest.skip(f"VIGOR's label archive is not beside the repository ({path.name})")
    return path
