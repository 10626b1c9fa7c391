"""How often the class is right: among the one, or the five, that score highest."""

import numpy as np
from jaxtyping import Float, Int

from vigor_jax.retrieval.errors import EvaluationError

_TOP = (1, 5)


def class_accuracy(label: Int[np.ndarray, "images"], scores: Float[np.ndarray, "images classes"]) -> dict[str, float]:
    """Counts the images whose class is among the `top1` and the `top5`, as shares. Ties count against the model.

    Example:
      >>> import numpy as np
      >>> from vigor_jax.retrieval.class_accuracy import class_accuracy
      >>> scores = np.array([[0.7, 0.2, 0.1], [0.4, 0.3, 0.3]])
      >>> class_accuracy(np.array([0, 2]), scores)
      {'top1': 0.5, 'top5': 1.0}

    Args:
      label: class of each image; -1, none of the classes, is an error of the model's.
      scores: of the classes: probabilities, or anything that rises with them.

    Raises:
      EvaluationError: no images, a class that there is not, or scores that are not finite, by their row.
    """
    ahead = others_ahead(label, scores)
    return {f"top{top}": float(np.mean((label >= 0) & (ahead < top))) for top in _TOP}


def others_ahead(
    label: Int[np.ndarray, "images"], scores: Float[np.ndarray, "images classes"]
) -> Int[np.ndarray, "images"]:
    """How many other classes score at least as high as an image's own; of label -1 as if it were class 0.

    Raises:
      EvaluationError: as of `class_accuracy`.
    """
    if not len(label):
        raise EvaluationError("no image was classified, so there is nothing to count.")
    strange = np.flatnonzero((label < -1) | (label >= scores.shape[1]))
    if len(strange):
        raise EvaluationError(
            f"row {strange[0]} is of class {label[strange[0]]}, and the scores are of {scores.shape[1]:,} classes: "
            "images and model belong to different sets of classes."
        )
    bad = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if len(bad):
        raise EvaluationError(
            f"{len(bad):,} of {len(label):,} rows of scores are not finite; the first is row {bad[0]}."
        )
    own = np.take_along_axis(scores, np.maximum(label, 0)[:, None], axis=1)
    return (scores >= own).sum(axis=1) - 1
