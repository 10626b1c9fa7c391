"""Compressed descriptors are searched and placed as uncompressed ones are."""

import jax
import numpy as np
import pytest

from vigor_jax import tasks
from vigor_jax.errors import UserError
from vigor_jax.parallel import mesh as meshes
from vigor_jax.studies import descriptor_compression
from vigor_jax.studies.descriptor_compression import DescriptorCompression

MEASURED = ("top1", "top5", "hit_rate", "median_m", "centre_median_m", "assisted_top1")


@pytest.fixture(scope="module")
def config(town_config):
    return town_config(**{"model.width": 0.0625, "model.offset_head": "regression", "loss.offset_weight": 0.01})


@pytest.fixture(scope="module")
def compression(config):
    pytest.importorskip("sklearn", reason="the extra `study` is not installed")
    pytest.importorskip("faiss", reason="the extra `study` is not installed")
    return DescriptorCompression(config)


@pytest.fixture(scope="module")
def task(config):
    """Of which the descriptors are."""
    return tasks.create(config)


@pytest.fixture(scope="module")
def variables(task):
    return jax.device_get(task.init(jax.random.key(2)))


@pytest.fixture(scope="module")
def mesh():
    return meshes.data_mesh(jax.devices()[:2])


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_what_is_fitted_trains_and_is_drawn_by_the_seed(compression, town, town_config, monkeypatch):
    train = town.splits.train
    np.testing.assert_array_equal(compression.fit_panoramas, train)
    np.testing.assert_array_equal(compression.fit_tiles, np.unique(town.data.panoramas.references[train]))
    monkeypatch.setattr(descriptor_compression, "_MOST_IMAGES_FITTED", 7)
    few, same, other = (DescriptorCompression(town_config(seed=seed)) for seed in (0, 0, 1))
    assert len(np.unique(few.fit_tiles)) == len(np.unique(few.fit_panoramas)) == 7
    assert np.isin(few.fit_tiles, compression.fit_tiles).all()
    assert np.isin(few.fit_panoramas, train).all()
    np.testing.assert_array_equal(few.fit_tiles, same.fit_tiles)
    assert not np.array_equal(few.fit_tiles, other.fit_tiles)


def test_all_components_find_what_the_descriptors_about_the_mean_find(compression, variables, mesh, town):
    """By loops over the descriptors themselves: a rotation changes no product, the mean taken off does."""
    found, *_ = compression.compressed(variables, mesh, components=(64,), code_bytes=())
    assert (found.name, found.dimension, found.bytes_per_descriptor) == ("pca_64", 64, 256)
    tiles, panoramas = np.arange(len(town.data.tiles)), np.arange(len(town.data.panoramas))
    every = compression._evaluation.encoder(variables, tiles, panoramas, mesh)
    aerial = np.asarray(every.aerial.embedding, np.float64)[every.tiles.of(tiles)]
    ground = np.asarray(every.ground.embedding, np.float64)[every.panoramas.of(panoramas)]
    mean = np.concatenate([aerial[compression.fit_tiles], ground[compression.fit_panoramas]]).mean(axis=0)
    aerial, ground = unit(aerial - mean), unit(ground - mean)
    for name, split in town.splits.evaluations.items():
        scores = ground[split.panoramas] @ aerial[split.tiles].T
        positive = scores[np.arange(len(scores)), split.references[:, 0]]
        ranks = (scores >= positive[:, None]).sum(axis=1) - 1
        assert found.metrics[f"{name}/top1"] == np.mean(ranks < 1)
        assert found.metrics[f"{name}/top10"] == np.mean(ranks < 10)


def test_int8_finds_nearly_what_the_model_does_and_places_by_its_head(compression, task, variables, mesh):
    own = task.evaluate(variables, mesh).metrics
    found = {each.name: each for each in compression.compressed(variables, mesh, components=(), code_bytes=())}
    assert list(found) == ["int8"]
    int8 = found["int8"]
    assert (int8.dimension, int8.bytes_per_descriptor) == (64, 64)
    for split in ("validation", "same_area", "cross_area"):
        for metric in MEASURED:
            assert f"{split}/{metric}" in int8.metrics
        assert int8.metrics[f"{split}/top10"] == pytest.approx(own[f"{split}/top10"], abs=0.05)
        assert int8.metrics[f"{split}/median_m"] != int8.metrics[f"{split}/centre_median_m"]


def test_without_a_compression_the_same_evaluation_gives_the_models_own_figures(
    compression, task, variables, mesh, monkeypatch
):
    class Kept:
        bytes_per_descriptor = 256

        def __init__(self, queries, gallery):
            self.queries, self.gallery = queries, gallery

    monkeypatch.setattr(
        descriptor_compression,
        "compressions",
        lambda fit_aerial, fit_ground, queries, gallery, **_: [("none", Kept(queries, gallery))],
    )
    own = task.evaluate(variables, mesh).metrics
    (kept,) = compression.compressed(variables, mesh, components=(), code_bytes=())
    assert kept.metrics == {key: own[key] for key in kept.metrics}
    assert {key.split("/")[1] for key in own.keys() - kept.metrics.keys()} >= {"gallery", "chance_top1"}


def test_too_few_tiles_for_product_quantisation(compression, variables, mesh):
    with pytest.raises(UserError, match=f"fitted on {len(compression.fit_tiles)} tiles: its 256 centroids"):
        list(compression.compressed(variables, mesh, components=(), code_bytes=(8,)))
