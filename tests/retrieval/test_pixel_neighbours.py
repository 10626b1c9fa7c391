import numpy as np

from vigor_jax.retrieval.pixel_neighbours import pixel_neighbours


def test_the_nearest_by_a_loop():
    rng = np.random.default_rng(0)
    training = rng.integers(0, 256, (40, 4, 5, 3), np.uint8)
    training[7] = training[3]  # of two alike the first is found
    near = np.clip(training[[3, 11, 39]].astype(int) + rng.integers(-9, 10, (3, 4, 5, 3)), 0, 255).astype(np.uint8)
    images = np.concatenate([near, rng.integers(0, 256, (20, 4, 5, 3), np.uint8)])
    expected = []
    for image in images:
        distances = [np.sum((image.astype(float) - other.astype(float)) ** 2) for other in training]
        expected.append(distances.index(min(distances)))
    assert pixel_neighbours(images, training).tolist() == expected
    assert expected[:3] == [3, 11, 39]
