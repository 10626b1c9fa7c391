"""The cross-view model that a config describes."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from vigor_jax.models.cross_view import CrossViewModel
from vigor_jax.models.offset_cells import CELLS, centre_of_best, expectation
from vigor_jax.tasks.cross_view.config import ModelConfig

_OFFSET_OUTPUTS = {"none": 0, "regression": 2, "classification": CELLS**2}


def cross_view_model(config: ModelConfig, preprocessing: str, *, projection_dim: int = 0) -> CrossViewModel:
    """The module.

    Args:
      config: of the model.
      preprocessing: that of the weights, a name of `models.preprocessing`; `towers.read_weights` has it.
      projection_dim: of a linear layer at the end; 0 for none.
    """
    return CrossViewModel(
        aggregation=config.aggregation,
        backbone=config.backbone,
        width=config.width,
        stride=config.stride,
        num_heads=config.num_heads,
        channels_per_head=config.channels_per_head or None,
        descriptor_dim=config.descriptor_dim,
        dropout=config.dropout,
        centre_descriptor=config.centre_descriptor,
        dtype=jnp.dtype(config.dtype),
        preprocessing=preprocessing,
        final_pool=config.final_pool,
        aggregation_std=config.aggregation_std,
        compass_heads=config.compass_heads,
        offset_outputs=_OFFSET_OUTPUTS[config.offset_head],
        remat=config.remat,
        projection_dim=projection_dim,
        norm_momentum=config.norm_momentum or None,
    )


def embedding_dim(model: CrossViewModel, tile_size: tuple[int, int]) -> int:
    """Finds how many numbers the model's embeddings have, by the shapes of a tile of (height, width) pixels."""
    tile = np.zeros((1, *tile_size, 3), np.uint8)
    # Of one view alone: tracing both would take as long as tracing the first state.
    encoded, _ = jax.eval_shape(
        lambda key: model.init_with_output(key, tile, "aerial", method="encode"), jax.random.key(0)
    )
    return encoded.embedding.shape[1]


def offset_of(config: ModelConfig) -> Callable[[jax.Array], jax.Array] | None:
    """How the offset head's outputs [B, outputs] become offsets [B, 2] in halves of a tile; None without a head."""
    if config.offset_head == "none":
        return None
    if config.offset_head == "regression":
        return lambda outputs: outputs
    return {"best": centre_of_best, "expectation": expectation}[config.cell_position]
