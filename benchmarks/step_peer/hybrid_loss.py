"""VIGOR's three losses with the weights of the authors' code, in PyTorch."""

import torch
import torch.nn.functional as F

from vigor_jax.tasks.cross_view.config import LossConfig


def hybrid_loss(
    aerial: torch.Tensor,
    ground: torch.Tensor,
    semi_positive: torch.Tensor,
    offset: torch.Tensor,
    iou_ratio: torch.Tensor,
    true_offset: torch.Tensor,
    weights: LossConfig,
) -> torch.Tensor:
    """Soft-margin triplets of all pairs, IOU ratio and offset regression, of float32 tensors."""
    similarity = ground @ aerial.T
    positive = similarity.diagonal()
    count = len(similarity)
    own = torch.eye(count, dtype=torch.bool, device=similarity.device)
    by_ground = F.softplus(2 * weights.alpha * (similarity - positive[:, None]))
    by_aerial = F.softplus(2 * weights.alpha * (similarity - positive[None, :]))
    triplets = (by_ground + by_aerial).masked_fill(own, 0.0).sum() / (2 * count * (count - 1))
    semi = (ground * semi_positive).sum(1)
    iou = ((semi / positive - iou_ratio) ** 2).mean()
    displaced = ((offset - true_offset) ** 2).sum(1).mean()
    return triplets + weights.iou_weight * iou + weights.offset_weight * displaced
