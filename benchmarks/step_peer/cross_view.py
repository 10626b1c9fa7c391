"""Two towers that embed aerial tiles and street panoramas in one space, in PyTorch."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from step_peer.offset_head import OffsetHead
from step_peer.spatial_aware_aggregation import SpatialAwareAggregation
from step_peer.vgg import VGG, max_pool_2x2
from vigor_jax.models.preprocessing import PREPROCESSINGS


class CrossViewModel(nn.Module):
    """SAFA on two towers that share no weights, with an offset head; every layer has the shape of its parameters."""

    def __init__(self, configuration: Literal["A", "D"], params: dict[str, Any]):
        """`params` are Flax's, for their shapes alone; the weights are put in by `flax_weights.load`."""
        super().__init__()
        for view in ("aerial", "ground"):
            channels = {name: layer["kernel"].shape[2:] for name, layer in params[f"{view}_tower"].items()}
            self.add_module(f"{view}_tower", VGG(configuration, channels))
            positions, _, heads = params[f"{view}_aggregation"]["kernel_in"].shape
            self.add_module(f"{view}_aggregation", SpatialAwareAggregation(positions, heads))
        self.offset_head = OffsetHead(*params["offset_head"]["aerial_in"]["kernel"].shape)
        statistics = PREPROCESSINGS["torchvision"]
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(getattr(statistics, name)).reshape(1, 3, 1, 1))

    def forward(
        self, aerial: torch.Tensor, ground: torch.Tensor, semi_positive: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Unit embeddings of tiles, panoramas and second tiles, and the offsets, of uint8 [B, H, W, 3]."""
        count = len(aerial)
        tiles = self._described("aerial", torch.cat([aerial, semi_positive]))
        panoramas = self._described("ground", ground)
        offset = self.offset_head(tiles[:count], panoramas)
        embedded = _unit_norm(tiles)
        return embedded[:count], _unit_norm(panoramas), embedded[count:], offset.float()

    def _described(self, view: str, images: torch.Tensor) -> torch.Tensor:
        # Permuted and not copied: that is what PyTorch calls channels-last.
        pixels = (images.permute(0, 3, 1, 2).float() - self.mean) / self.std
        features = self.get_submodule(f"{view}_tower")(pixels)
        return self.get_submodule(f"{view}_aggregation")(max_pool_2x2(features))


def _unit_norm(descriptor: torch.Tensor) -> torch.Tensor:
    return F.normalize(descriptor.float(), eps=1e-6)
