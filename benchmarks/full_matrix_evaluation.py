"""Evaluation as VIGOR's authors do it: the whole matrix of distances in float64 NumPy, then one loop over its rows.

In our words, with the operations of their train_overall.py (`recalls`) and evaluate_from_npy.py (`errors_m`): the
descriptors are float64, as arrays made by `np.zeros` are; every query copies nothing but compares its row twice, counts
once over all references and once over those that are not its own; and the positions multiply the matrix again for its
best column and then go through the queries one by one, reading both positions from file names.
"""

import numpy as np


def recalls(ground: np.ndarray, aerial: np.ndarray, references: np.ndarray) -> dict[str, float]:
    """Shares of the queries [Q, D] whose first reference is found among the rows of `aerial` [M, D].

    `references` [Q, 4] are rows of `aerial`, of which the first is to be found and the others are forgiven by the hit
    rate.
    """
    distances = 2 - 2 * np.matmul(ground, np.transpose(aerial))
    within = {"top1_percent": int(distances.shape[1] * 0.01) + 1, "top1": 1, "top5": 5}
    hits = dict.fromkeys([*within, "hit_rate"], 0.0)
    for query in range(distances.shape[0]):
        wanted = distances[query, references[query][0]]
        nearer = np.sum(distances[query, :] < wanted)
        others = np.ones(distances[query, :].shape[0])
        others[references[query][1:]] = 0
        unrelated_nearer = np.sum((distances[query, :] < wanted) * others)
        for name, rank in within.items():
            if nearer < rank:
                hits[name] += 1.0
        if unrelated_nearer < 1:
            hits["hit_rate"] += 1.0
    return {name: hit / distances.shape[0] for name, hit in hits.items()}


def errors_m(ground: np.ndarray, aerial: np.ndarray, query_names: list[str], tile_names: list[str]) -> np.ndarray:
    """Metres between each query and the centre of the tile that it finds.

    The names are "<text>,<lat>,<lon>,.jpg" of queries and "satellite_<lat>_<lon>.png" of tiles, in degrees.
    """
    similarity = np.matmul(ground, np.transpose(aerial))
    found = np.argmax(similarity, axis=1)
    errors = []
    for query, tile in enumerate(found):
        truth = np.array(query_names[query].split(",")[1:3]).astype(float)
        centre = np.array(tile_names[tile].replace(".png", "").split("_")[1:3]).astype(float)
        errors.append(_great_circle_m(*truth, *centre))
    return np.array(errors)


def _great_circle_m(lat_a: float, lon_a: float, lat_b: float, lon_b: float) -> float:
    """By the law of cosines."""
    lat_a, lon_a, lat_b, lon_b = (degrees * np.pi / 180.0 for degrees in (lat_a, lon_a, lat_b, lon_b))
    cosine = np.sin(lat_a) * np.sin(lat_b) + np.cos(lat_a) * np.cos(lat_b) * np.cos(lon_a - lon_b)
    return 6371004.0 * np.arccos(np.clip(cosine, -1.0, 1.0))
