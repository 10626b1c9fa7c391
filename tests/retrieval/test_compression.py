"""Compressed descriptors are what the definitions say, and lose little where little is there to lose."""

import importlib.util
import sys

import numpy as np
import pytest

from vigor_jax.errors import UserError
from vigor_jax.retrieval import EvaluationError, rank_metrics
from vigor_jax.retrieval.compression import (
    Compressed,
    compressions,
    principal_components,
    product_quantised,
    scalar_quantised,
)

_needs = {
    package: pytest.mark.skipif(
        importlib.util.find_spec(module) is None, reason=f"{package} is not installed: pip install -e .[study]"
    )
    for module, package in (("sklearn", "scikit-learn"), ("faiss", "faiss-cpu"))
}


def _unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def _descriptors(seed: int, rows: int, dim: int = 32, rank: int = 8) -> np.ndarray:
    """Unit rows that lie near a subspace of a few dimensions, as trained descriptors do."""
    rng = np.random.default_rng(seed)
    basis = np.random.default_rng(99).normal(size=(rank, dim))
    return _unit(rng.normal(size=(rows, rank)) @ basis + 0.05 * rng.normal(size=(rows, dim)))


def _check_shape(found: Compressed, queries: int, gallery: int, dim: int, stored: int) -> None:
    assert found.queries.shape == (queries, dim)
    assert found.gallery.shape == (gallery, dim)
    assert found.queries.dtype == found.gallery.dtype == np.float32
    assert found.bytes_per_descriptor == stored
    np.testing.assert_allclose(np.linalg.norm(found.gallery, axis=1), 1, rtol=1e-5)


@_needs["scikit-learn"]
def test_principal_components_are_those_of_the_covariance():
    fit, queries, gallery = (_descriptors(seed, rows) for seed, rows in ((0, 300), (1, 7), (2, 11)))
    found = principal_components(fit, queries, gallery, 5)
    _check_shape(found, 7, 11, 5, 20)
    mean = fit.astype(np.float64).mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(fit.astype(np.float64).T))
    leading = vectors[:, np.argsort(-values)[:5]]
    projected = [_unit((rows - mean) @ leading) for rows in (queries, gallery)]
    # The sign of a component is free; products are not.
    np.testing.assert_allclose(found.queries @ found.gallery.T, projected[0] @ projected[1].T, atol=1e-3)


@_needs["faiss-cpu"]
def test_scalar_quantisation_rounds_each_dimension():
    fit, queries, gallery = (_descriptors(seed, rows) for seed, rows in ((0, 60), (1, 7), (2, 40)))
    found = scalar_quantised(fit, queries, gallery)
    _check_shape(found, 7, 40, 32, 32)
    np.testing.assert_array_equal(found.queries, queries)
    least, greatest = (bound.astype(np.float64) for bound in (fit.min(axis=0), fit.max(axis=0)))
    code = np.floor((np.clip(gallery, least, greatest) - least) / (greatest - least) * 255)
    assert (code.min(), code.max()) == (0, 255)  # a row of the gallery beyond what was fitted, at either end
    decoded = least + (code + 0.5) / 255 * (greatest - least)  # the middle of its step
    np.testing.assert_allclose(found.gallery, _unit(decoded), atol=1e-5)


@_needs["faiss-cpu"]
def test_product_quantisation_chooses_the_nearest_of_the_centroids():
    fit, queries, gallery = (_descriptors(seed, rows) for seed, rows in ((0, 600), (1, 7), (2, 40)))
    found = product_quantised(fit, queries, gallery, 4, seed=0)
    _check_shape(found, 7, 40, 32, 4)
    np.testing.assert_array_equal(found.queries, queries)
    # The rows that were fitted, decoded, are the centroids, part by part; those of the gallery are among these.
    import faiss

    quantiser = faiss.ProductQuantizer(32, 4, 8)
    quantiser.cp.seed = 0
    quantiser.cp.min_points_per_centroid = 1
    quantiser.train(fit)
    centroids = faiss.vector_to_array(quantiser.centroids).reshape(4, 256, 8)
    expected = np.concatenate(
        [
            centroids[part][
                np.argmin(((gallery[:, None, part * 8 : part * 8 + 8] - centroids[part]) ** 2).sum(-1), axis=1)
            ]
            for part in range(4)
        ],
        axis=1,
    )
    np.testing.assert_allclose(found.gallery, _unit(expected), atol=1e-5)


@_needs["faiss-cpu"]
@_needs["scikit-learn"]
def test_the_same_seed_gives_the_same_arrays_and_more_bytes_lose_less():
    fit = _descriptors(0, 1000)
    gallery = _descriptors(1, 200)
    noise = np.random.default_rng(2).normal(scale=0.1, size=(200, 32))
    queries = _unit(gallery + noise)

    def run() -> dict[str, Compressed]:
        found = compressions(
            fit, fit[:500] + np.float32(0.01), queries, gallery, components=(16, 2), code_bytes=(1, 16), seed=5
        )
        return dict(found)

    first, second = run(), run()
    assert list(first) == ["pca_16", "pca_2", "int8", "pq_1", "pq_16"]
    assert {name: c.bytes_per_descriptor for name, c in first.items()} == {
        "pca_16": 64,
        "pca_2": 8,
        "int8": 32,
        "pq_1": 1,
        "pq_16": 16,
    }
    alone = principal_components(np.concatenate([fit, fit[:500] + np.float32(0.01)]), queries, gallery, 2)
    np.testing.assert_allclose(
        first["pca_2"].queries @ first["pca_2"].gallery.T, alone.queries @ alone.gallery.T, atol=1e-4
    )
    for name in first:
        np.testing.assert_array_equal(first[name].gallery, second[name].gallery)
        np.testing.assert_array_equal(first[name].queries, second[name].queries)
    references = np.stack([np.arange(200)] * 4, axis=1)
    plain = rank_metrics(queries, gallery, references)["top1"]
    recall = {name: rank_metrics(c.queries, c.gallery, references)["top1"] for name, c in first.items()}
    assert plain > 0.9
    assert recall["int8"] > plain - 0.02
    assert recall["pca_16"] > plain - 0.05
    assert recall["pq_16"] > plain - 0.1
    assert recall["pca_2"] < 0.5
    assert recall["pq_1"] < 0.5


@_needs["scikit-learn"]
def test_too_many_components_are_refused():
    with pytest.raises(UserError, match="33 principal components of 300 descriptors of 32 dimensions: at most 32"):
        principal_components(_descriptors(0, 300), _descriptors(1, 2), _descriptors(1, 2), 33)


@_needs["faiss-cpu"]
def test_product_codes_that_cannot_be_are_refused():
    few, many = _descriptors(0, 255), _descriptors(0, 256)
    with pytest.raises(UserError, match="to 5 bytes: they must divide the 32"):
        product_quantised(many, many, many, 5, seed=0)
    with pytest.raises(UserError, match="fitted on 255 tiles"):
        product_quantised(few, few, few, 4, seed=0)


@pytest.mark.parametrize(
    ("module", "package", "compress"),
    [
        ("sklearn.decomposition", "scikit-learn", lambda rows: principal_components(rows, rows, rows, 2)),
        ("faiss", "faiss-cpu", lambda rows: scalar_quantised(rows, rows, rows)),
        ("faiss", "faiss-cpu", lambda rows: product_quantised(rows, rows, rows, 2, seed=0)),
    ],
)
def test_a_missing_package_says_how_to_get_it(module, package, compress, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"needs {package}.*pip install -e \.\[study\]"):
        compress(_descriptors(0, 20))


@pytest.mark.parametrize("which", range(4))
def test_descriptors_that_are_not_finite_are_refused_before_anything_is_fitted(which):
    """A quantiser would encode them as it encodes any other."""
    rows = [np.eye(5, 4, dtype=np.float32) for _ in range(4)]
    rows[which][3, 1] = np.nan
    name = ("fit_aerial", "fit_ground", "queries", "gallery")[which]
    with pytest.raises(EvaluationError, match=rf"1 of 5 descriptors of {name} are not finite; the first is row 3"):
        next(compressions(*rows, components=(), code_bytes=(), seed=0))
