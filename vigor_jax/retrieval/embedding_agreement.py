"""How alike two networks see images: by their embeddings, and by whom each takes for an image's nearest neighbour."""

import numpy as np
from jaxtyping import Float, Int

from vigor_jax.retrieval.top_k import top_k


def embedding_agreement(
    student: Float[np.ndarray, "images dim"], teacher: Float[np.ndarray, "images dim"]
) -> dict[str, float]:
    """Figures of unit embeddings of the same images.

    `distance` is the mean squared Euclidean distance, `cosine` the mean cosine, and `agreement` the share of images
    whose nearest neighbour among the others is the same for both; absent for fewer than three images, whose neighbour
    is no choice.

    Example:
      >>> import numpy as np
      >>> from vigor_jax.retrieval.embedding_agreement import embedding_agreement
      >>> teacher = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
      >>> student = teacher[:, ::-1]  # mirrored: all distances among the images are the same
      >>> {name: round(figure, 4) for name, figure in embedding_agreement(student, teacher).items()}
      {'distance': 1.36, 'cosine': 0.32, 'agreement': 1.0}
    """
    student, teacher = student.astype(np.float64), teacher.astype(np.float64)
    figures = {
        "distance": float(np.mean(np.sum((student - teacher) ** 2, axis=1))),
        "cosine": float(np.mean(np.sum(student * teacher, axis=1))),
    }
    if len(student) > 2:
        figures["agreement"] = float(np.mean(nearest_others(student) == nearest_others(teacher)))
    return figures


def nearest_others(embeddings: Float[np.ndarray, "images dim"]) -> Int[np.ndarray, "images"]:
    """Row of each image's nearest neighbour by cosine, not itself; of equals the lowest row."""
    _, rows = top_k(embeddings.astype(np.float32), embeddings.astype(np.float32), 2)
    itself = rows[:, 0] == np.arange(len(rows))
    return np.where(itself, rows[:, 1], rows[:, 0])
