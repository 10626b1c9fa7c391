"""Our side of the fixtures: every feature map and the logits of a classifier."""

import functools
from typing import Any

import jax
import numpy as np

from vigor_jax.models.classifier import Classifier


def maps_and_logits(model: Classifier, variables: Any, image: np.ndarray, name: str) -> dict[str, jax.Array]:
    """The backbone's maps as name0, name1 ... and the logits, compiled once for equal models."""
    maps, logits = _run(model, variables, image)
    return {f"{name}{i}": one for i, one in enumerate(maps)} | {"logits": logits}


@functools.partial(jax.jit, static_argnums=0)
def _run(model: Classifier, variables: Any, image: np.ndarray) -> tuple[tuple[jax.Array, ...], jax.Array]:
    logits, captured = model.apply(
        variables,
        image,
        capture_intermediates=lambda module, _: module.name == "backbone",
        mutable=["intermediates"],
    )
    (maps,) = captured["intermediates"]["backbone"]["__call__"]
    return maps, logits
