from pathlib import Path

import cv2
import numpy as np
import pytest

from vigor_jax.datasets import image_codec


@pytest.fixture(scope="session")
def make_photo():
    """`(seed, height, width) -> JPEG`: a smooth random picture."""

    def make(seed: int, height: int = 24, width: int = 36) -> bytes:
        coarse = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), np.uint8)
        return image_codec.encode_jpeg(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR))

    return make


@pytest.fixture(scope="session")
def write_photos(make_photo):
    """`(root, {folder: names or count}) -> root`: writes photos, each its own picture."""

    def write(root, folders):
        seed = 0
        for folder, names in folders.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            for name in [f"{i:03d}.jpg" for i in range(names)] if isinstance(names, int) else names:
                (root / folder / name).write_bytes(make_photo(seed))
                seed += 1
        return root

    return write


@pytest.fixture(scope="session")
def grocery_zip() -> Path:
    """The photos of groceries."""
    path = Path(__file__).resolve().parents[3] / "shared" / "data" / "grocery128.zip"
    if not path.exists():
        pytest.skip(f"the photos of groceries are not beside the repository ({path.name})")
    return path
