"""Where in the tile the panorama was taken, in PyTorch."""

import torch
import torch.nn.functional as F
from torch import nn


class OffsetHead(nn.Module):
    """Two-layer perceptron on both descriptors side by side: [B, D] and [B, D] -> [B, 2]."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.linear_in = nn.Linear(2 * dim, hidden)
        self.linear_out = nn.Linear(hidden, 2)

    def forward(self, aerial: torch.Tensor, ground: torch.Tensor) -> torch.Tensor:
        """Offsets in halves of a tile."""
        return self.linear_out(F.relu(self.linear_in(torch.cat([aerial, ground], dim=1))))
