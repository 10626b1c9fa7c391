"""The peer's training step of a classifier: cross-entropy and gradient descent with momentum, eager or compiled."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from step_peer.classifiers import decayed
from vigor_jax.config import OptimizerConfig
from vigor_jax.models.preprocessing import Preprocessing


class ClassifierPeerStep:
    """A step with its model and the batch that it repeats; channels-last throughout."""

    def __init__(
        self,
        model: nn.Module,
        weights: Mapping[str, np.ndarray],
        images: np.ndarray,
        labels: np.ndarray,
        *,
        preprocessing: Preprocessing,
        optimizer: OptimizerConfig,
        dtype: Literal["bfloat16", "float32"],
        device: Literal["cpu", "cuda"],
        compiled: bool = False,
        exact: bool = False,
    ):
        """Compiles nothing before the first call.

        Args:
          model: in training mode from now on.
          weights: that it starts from, under its own names.
          images: uint8 [B, H, W, 3].
          labels: [B].
          preprocessing: of the images, on the device.
          optimizer: gradient descent's.
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
        state = {name: torch.from_numpy(np.array(array)) for name, array in weights.items()}
        missing, unexpected = model.load_state_dict(state, strict=False)
        assert not unexpected, unexpected
        assert all(name.endswith("num_batches_tracked") for name in missing), missing
        self.model = model.train().to(device, memory_format=torch.channels_last)
        mean, std = (
            torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (preprocessing.mean, preprocessing.std)
        )
        assert not preprocessing.bgr
        self._images = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
        self._labels = torch.from_numpy(labels).long().to(device)

        def loss(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            pixels = ((images.float() - mean) / std).contiguous(memory_format=torch.channels_last)
            with torch.autocast(device, torch.bfloat16, enabled=self._autocast):
                logits = self.model(pixels)
            return F.cross_entropy(logits.float(), labels)

        self._loss = torch.compile(loss, dynamic=False) if compiled else loss
        shrunk, others = decayed(self.model)
        groups = [{"params": shrunk, "weight_decay": optimizer.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self._sgd = torch.optim.SGD(groups, lr=optimizer.learning_rate, momentum=optimizer.momentum, fused=True)

    def __call__(self, steps: int = 1) -> torch.Tensor:
        """The last step's loss before its update, once all the steps are done."""
        for _ in range(steps):
            self._sgd.zero_grad(set_to_none=True)
            loss = self._loss(self._images, self._labels)
            loss.backward()
            self._sgd.step()
        if self._device == "cuda":
            torch.cuda.synchronize()
        return loss.detach()
