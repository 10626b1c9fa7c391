"""Which parameters weight decay shrinks."""

from typing import Any

import jax

from vigor_jax.models.depthwise_filters import is_depthwise_filter


def mask(params: Any) -> Any:
    """A tree like `params` that says of each array whether weight decay shrinks it.

    Kernels are: what features are multiplied with and summed over, in layers that are named as Flax names them
    ("kernel", and SAFA's "kernel_in" and "kernel_out"). Everything else is not: biases, the scales and biases of
    normalisations, tokens, tables of positions. VGG's paper gives one number for all weights (5e-4, section 3.1);
    networks trained with Caffe, as those were, leave biases out by a `decay_mult` of 0. MobileNet's authors found it
    important to put little or no decay on depthwise filters, which have so few parameters (section 3.2), and their
    code puts none on them and none on normalisations; so here, in every network.

    Args:
      params: of a model, nested by name.
    """
    return jax.tree_util.tree_map_with_path(lambda path, _: _is_decayed([key.key for key in path]), params)


def _is_decayed(path: list[str]) -> bool:
    is_kernel = path[-1] == "kernel" or path[-1].startswith("kernel_")
    return is_kernel and not is_depthwise_filter(path)
