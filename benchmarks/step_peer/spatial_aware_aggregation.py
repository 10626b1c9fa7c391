"""Spatial-aware feature aggregation (SAFA), in PyTorch."""

import torch
from torch import nn


class SpatialAwareAggregation(nn.Module):
    """[B, C, H, W] features of P = H * W positions -> [B, heads * C], head-major, not normalised."""

    def __init__(self, positions: int, heads: int):
        super().__init__()
        hidden = positions // 2
        self.kernel_in = nn.Parameter(torch.empty(positions, hidden, heads))
        self.bias_in = nn.Parameter(torch.empty(hidden, heads))
        self.kernel_out = nn.Parameter(torch.empty(hidden, positions, heads))
        self.bias_out = nn.Parameter(torch.empty(positions, heads))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Descriptors."""
        features = features.flatten(2)
        between = torch.einsum("bp,pqm->bqm", features.amax(1), self.kernel_in) + self.bias_in
        attention = torch.einsum("bqm,qpm->bpm", between, self.kernel_out) + self.bias_out
        return torch.einsum("bcp,bpm->bmc", features, attention).flatten(1)
