"""The peer's training step: forward in bfloat16 autocast, backward, Adam; eager or compiled."""

from typing import Any, Literal

import numpy as np
import torch

from step_peer import flax_weights
from step_peer.cross_view import CrossViewModel
from step_peer.hybrid_loss import hybrid_loss
from vigor_jax.config import OptimizerConfig
from vigor_jax.tasks.cross_view.config import LossConfig


class PeerStep:
    """A step with its model and the batch that it repeats; channels-last throughout."""

    def __init__(
        self,
        configuration: Literal["A", "D"],
        params: dict[str, Any],
        batch: dict[str, np.ndarray],
        *,
        loss: LossConfig,
        optimizer: OptimizerConfig,
        dtype: Literal["bfloat16", "float32"],
        device: Literal["cpu", "cuda"],
        compiled: bool = False,
        exact: bool = False,
    ):
        """Compiles nothing before the first call.

        Args:
          configuration: of the VGG paper.
          params: Flax's, which the model starts from.
          batch: of `hybrid_step.noise_batch`.
          loss: its weights.
          optimizer: Adam's.
          dtype: "bfloat16" for autocast.
          device: PyTorch's name of it.
          compiled: by `torch.compile`, forward and backward.
          exact: float32 products without TF32, on all of PyTorch from now on.
        """
        if device == "cuda":
            torch.set_float32_matmul_precision("highest" if exact else "high")
            torch.backends.cudnn.allow_tf32 = not exact
        torch.backends.cudnn.benchmark = True  # the sizes never change, so the fastest kernels may be looked for
        self._device, self._autocast = device, dtype == "bfloat16"
        self.model = CrossViewModel(configuration, params)
        flax_weights.load(self.model, params)
        self.model.to(device, memory_format=torch.channels_last)
        self._batch = {name: torch.from_numpy(array).to(device) for name, array in batch.items()}
        self._weights = loss
        self._loss_of = torch.compile(self._loss, dynamic=False) if compiled else self._loss
        # One kernel for all parameters, the fastest form that PyTorch has.
        self._adam = torch.optim.Adam(self.model.parameters(), lr=optimizer.learning_rate, fused=True)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._adam, lambda step: optimizer.decay_rate ** (step / optimizer.decay_steps)
        )

    def __call__(self, steps: int = 1) -> torch.Tensor:
        """The last step's loss before its update, once all the steps are done."""
        for _ in range(steps):
            self._adam.zero_grad(set_to_none=True)
            loss = self._loss_of(**self._batch)
            loss.backward()
            self._adam.step()
            self._schedule.step()
        if self._device == "cuda":
            torch.cuda.synchronize()
        return loss.detach()

    def gradients(self) -> dict[str, Any]:
        """Of the last step, in the tree of Flax's parameters."""
        return flax_weights.gradients(self.model)

    def _loss(
        self,
        aerial: torch.Tensor,
        ground: torch.Tensor,
        semi_positive: torch.Tensor,
        iou_ratio: torch.Tensor,
        offset: torch.Tensor,
        semi_positive_counts: torch.Tensor,
    ) -> torch.Tensor:
        del semi_positive_counts  # all of them do
        with torch.autocast(self._device, torch.bfloat16, enabled=self._autocast):
            tiles, panoramas, second_tiles, found = self.model(aerial, ground, semi_positive)
        return hybrid_loss(tiles, panoramas, second_tiles, found, iou_ratio, offset, self._weights)
