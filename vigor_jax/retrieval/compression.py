"""What trained descriptors still find when fewer bytes of each are kept: principal components and quantisation.

Everything is fitted on training images and none of it sees the test gallery before it encodes it. The results are
arrays like those that came in, so that `rank_metrics` says what a compression costs. The queries of a quantised gallery
stay as they are (asymmetric search): they are not stored.
"""

import dataclasses
import importlib
from collections.abc import Iterator, Sequence
from types import ModuleType

import numpy as np
from jaxtyping import Float

from vigor_jax.errors import UserError
from vigor_jax.retrieval.errors import EvaluationError

_PQ_CENTROIDS = 256  # one byte chooses among them


@dataclasses.dataclass(frozen=True)
class Compressed:
    """Unit embeddings after a compression, float32."""

    queries: Float[np.ndarray, "queries dim"]
    gallery: Float[np.ndarray, "gallery dim"]  # decoded from what is stored
    bytes_per_descriptor: int  # stored for each tile of the gallery


def compressions(
    fit_aerial: Float[np.ndarray, "fit_tiles dim"],
    fit_ground: Float[np.ndarray, "fit_panoramas dim"],
    queries: Float[np.ndarray, "queries dim"],
    gallery: Float[np.ndarray, "gallery dim"],
    *,
    components: Sequence[int],
    code_bytes: Sequence[int],
    seed: int,
) -> Iterator[tuple[str, Compressed]]:
    """Each compression by name, one at a time: "pca_<components>", "int8" and "pq_<bytes>".

    Args:
      fit_aerial: unit embeddings of training tiles, for all compressions.
      fit_ground: unit embeddings of training panoramas, for the principal components.
      queries: unit embeddings of the queries.
      gallery: unit embeddings of the tiles they search.
      components: how many, each at least 1; the decomposition is made once.
      code_bytes: of `product_quantised`.
      seed: of the first centroids of the product quantisation.

    Raises:
      UserError: the extra `study` is not installed, a size that the descriptors do not allow, or one of them is not
        finite, which a quantiser would encode like any other.
    """
    given = {"fit_aerial": fit_aerial, "fit_ground": fit_ground, "queries": queries, "gallery": gallery}
    for name, rows in given.items():
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if len(bad):
            raise EvaluationError(
                f"{len(bad)} of {len(rows)} descriptors of {name} are not finite; the first is row {bad[0]}."
            )
    if components:
        most = principal_components(np.concatenate([fit_aerial, fit_ground]), queries, gallery, max(components))
        for count in components:
            # The first of many components are the few, and unit length forgets how long the many were.
            fewer = (_unit(rows[:, :count]) for rows in (most.queries, most.gallery))
            yield f"pca_{count}", Compressed(*fewer, 4 * count)
    yield "int8", scalar_quantised(fit_aerial, queries, gallery)
    for count in code_bytes:
        yield f"pq_{count}", product_quantised(fit_aerial, queries, gallery, count, seed=seed)


def principal_components(
    fit: Float[np.ndarray, "fit dim"],
    queries: Float[np.ndarray, "queries dim"],
    gallery: Float[np.ndarray, "gallery dim"],
    components: int,
) -> Compressed:
    """Queries and gallery in the leading principal components of `fit`, about its mean, and of unit length again.

    Four bytes a component. The components are those of both views together: fit on tiles and panoramas.

    Raises:
      UserError: scikit-learn is missing; more components than rows to fit or dimensions.
    """
    decomposition = _require("sklearn.decomposition", "scikit-learn")
    if not 1 <= components <= min(fit.shape):
        raise UserError(
            f"{components} principal components of {fit.shape[0]} descriptors of {fit.shape[1]} dimensions: at most "
            f"{min(fit.shape)} exist. Ask for fewer, or fit on more images."
        )
    # Exact, where the automatic choice would be a randomised decomposition: a minute at 4096 dimensions.
    pca = decomposition.PCA(components, svd_solver="covariance_eigh").fit(fit)
    return Compressed(_unit(pca.transform(queries)), _unit(pca.transform(gallery)), 4 * components)


def scalar_quantised(
    fit: Float[np.ndarray, "fit dim"],
    queries: Float[np.ndarray, "queries dim"],
    gallery: Float[np.ndarray, "gallery dim"],
) -> Compressed:
    """The gallery with each dimension rounded to one of 256 steps between its least and greatest value in `fit`.

    One byte a dimension. What lies beyond those values becomes the nearer of the two, so fit on tiles like the
    gallery's. Decoded rows are scaled to unit length.

    Raises:
      UserError: faiss is missing.
    """
    faiss = _require("faiss", "faiss-cpu")
    quantiser = faiss.ScalarQuantizer(fit.shape[1], faiss.ScalarQuantizer.QT_8bit)
    quantiser.train(_contiguous(fit))
    return _quantised(quantiser, queries, gallery)


def product_quantised(
    fit: Float[np.ndarray, "fit dim"],
    queries: Float[np.ndarray, "queries dim"],
    gallery: Float[np.ndarray, "gallery dim"],
    code_bytes: int,
    *,
    seed: int,
) -> Compressed:
    """The gallery with each of `code_bytes` parts of its rows replaced by the nearest of 256 centroids (Jégou, 2011).

    The centroids are k-means of the parts of `fit`; some 10,000 rows (39 a centroid) fit them well, 256 are needed.
    Decoded rows are scaled to unit length, which their codes alone determine.

    Raises:
      UserError: faiss is missing; `code_bytes` does not divide the dimension; fewer rows than centroids.
    """
    faiss = _require("faiss", "faiss-cpu")
    rows, dim = fit.shape
    if code_bytes < 1 or dim % code_bytes:
        raise UserError(f"product quantisation to {code_bytes} bytes: they must divide the {dim} dimensions evenly.")
    if rows < _PQ_CENTROIDS:
        raise UserError(
            f"product quantisation fitted on {rows} tiles: its {_PQ_CENTROIDS} centroids need as many at least."
        )
    quantiser = faiss.ProductQuantizer(dim, code_bytes, 8)
    quantiser.cp.seed = seed
    # The rows needed for a good fit are in the docstring; faiss would print them once for every part.
    quantiser.cp.min_points_per_centroid = 1
    quantiser.train(_contiguous(fit))
    return _quantised(quantiser, queries, gallery)


def _quantised(quantiser, queries, gallery) -> Compressed:
    codes = quantiser.compute_codes(_contiguous(gallery))
    return Compressed(np.asarray(queries, np.float32), _unit(quantiser.decode(codes)), codes.shape[1])


def _contiguous(rows: Float[np.ndarray, "rows dim"]) -> Float[np.ndarray, "rows dim"]:
    return np.ascontiguousarray(rows, np.float32)


def _unit(rows: Float[np.ndarray, "rows dim"]) -> Float[np.ndarray, "rows dim"]:
    # A row at the very mean has no direction and stays zero.
    return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def _require(module: str, package: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"compressing descriptors needs {package}, which is not installed. Install it: pip install -e .[study]"
        ) from error
