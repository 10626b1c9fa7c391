"""A deep VGG that starts from the layers of a trained shallow one."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util

from vigor_jax.errors import UserError

# The first four convolutions of A, which every deeper configuration has by the same names and in the same shapes.
_CONVOLUTIONS = ("conv1_1", "conv2_1", "conv3_1", "conv3_2")
_COPIED = (*(f"backbone/{name}" for name in _CONVOLUTIONS), "head/fc6", "head/fc7", "logits")


def vgg_from_shallower(variables: Mapping[str, Any], shallow: Mapping[str, Any]) -> dict[str, Any]:
    """Variables of a deep VGG with the first four convolutions and the fully connected layers of a trained net A.

    So the paper started its deeper networks, whose other layers it drew from a normal distribution and which from
    random weights alone did not train (section 3.1); no layer was held fast or learnt more slowly. "First four" are
    those of A, each at the place that has its name: counted through, a deeper network's fourth is of another shape.

    Args:
      variables: of a `Classifier` over a `VGG` of any configuration, freshly initialised.
      shallow: of a `Classifier` over configuration A or A-LRN, with as many classes, the same width and image size.

    Returns:
      The tree of `variables`; the copied layers share no memory with `shallow`.

    Raises:
      UserError: a layer to copy is missing on either side or of another shape; all are named.
    """
    deep, taken = ({**traverse_util.flatten_dict(tree["params"], sep="/")} for tree in (variables, shallow))
    paths = [f"{layer}/{part}" for layer in _COPIED for part in ("kernel", "bias")]
    troubles = [
        f"{path} is {_shape(deep, path)} in the deeper and {_shape(taken, path)} in the shallower"
        for path in paths
        if _shape(deep, path) != _shape(taken, path) or path not in deep
    ]
    if troubles:
        raise UserError(
            f"no layers can be copied from the shallower VGG: {'; '.join(troubles)}. Both have to be classifiers of as "
            "many classes, of the same width, made for images of the same size."
        )
    copies = jax.tree.map(jnp.array, {path: taken[path] for path in paths})
    return {**variables, "params": traverse_util.unflatten_dict(deep | copies, sep="/")}


def _shape(flat: Mapping[str, Any], path: str) -> str:
    return str(list(flat[path].shape)) if path in flat else "missing"
