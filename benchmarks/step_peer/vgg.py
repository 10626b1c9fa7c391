"""VGG up to its last convolution, in PyTorch."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from vigor_jax.models.vgg import CONVOLUTIONS


class VGG(nn.Module):
    """[B, 3, H, W] preprocessed images -> [B, C, ceil(H/16), ceil(W/16)] after the last ReLU.

    Attributes:
      convolutions: by their names in Flax, conv1_1 and on.
    """

    def __init__(self, configuration: Literal["A", "D"], channels: dict[str, tuple[int, int]]):
        """`channels` are those in and out of each layer by its name."""
        super().__init__()
        self._counts = CONVOLUTIONS[configuration]
        self.convolutions = nn.ModuleDict(
            {name: nn.Conv2d(inward, outward, 3, padding=1) for name, (inward, outward) in channels.items()}
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features of the last convolution."""
        for stage, count in enumerate(self._counts, 1):
            if stage > 1:
                features = max_pool_2x2(features)
            for i in range(1, count + 1):
                features = F.relu(self.convolutions[f"conv{stage}_{i}"](features), inplace=True)
        return features


def max_pool_2x2(features: torch.Tensor) -> torch.Tensor:
    """An odd side keeps its last row or column."""
    return F.max_pool2d(features, 2, ceil_mode=True)
