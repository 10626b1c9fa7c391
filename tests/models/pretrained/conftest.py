"""Random VGG-16 weights, and writers of the layouts in which they are published."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vigor_jax.models.pretrained.loading import load
from vigor_jax.models.vgg import VGG, layers

# Written out on purpose: the position of each convolution in torchvision's `features`.
_TORCH_POSITIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
_CHANNELS = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)


@pytest.fixture(scope="session")
def load_vgg16():
    """`(path) -> ("params" of a VGG-16 without its head, the name of its preprocessing)`."""

    def loaded(path):
        found = load(VGG(), "vgg16", path)
        return found.variables["params"], found.preprocessing

    return loaded


@pytest.fixture(scope="session")
def vgg_weights() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By layer, kernel [3, 3, in, out] and bias."""
    rng = np.random.default_rng(0)
    weights = {}
    for layer, inputs, outputs in zip(layers("D"), _CHANNELS[:-1], _CHANNELS[1:], strict=True):
        kernel = rng.standard_normal((3, 3, inputs, outputs), np.float32) * np.float32((2 / 9 / inputs) ** 0.5)
        weights[layer] = (kernel, rng.standard_normal(outputs, np.float32) * np.float32(0.1))
    return weights


@pytest.fixture(scope="session")
def torch_state(vgg_weights) -> dict[str, np.ndarray]:
    """As torchvision publishes it; the fully connected part much smaller than the real one."""
    state = {}
    for position, (kernel, bias) in zip(_TORCH_POSITIONS, vgg_weights.values(), strict=True):
        state[f"features.{position}.weight"] = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        state[f"features.{position}.bias"] = bias
    for position in (0, 3, 6):
        state[f"classifier.{position}.weight"] = np.ones((2, 2), np.float32)
        state[f"classifier.{position}.bias"] = np.ones(2, np.float32)
    return state


@pytest.fixture
def assert_loaded(vgg_weights) -> Callable[[dict], None]:
    """The loaded parameters are the written weights, bit for bit."""

    def check(params: dict) -> None:
        assert list(params) == list(layers("D"))
        for layer, (kernel, bias) in vgg_weights.items():
            np.testing.assert_array_equal(params[layer]["kernel"], kernel, err_msg=layer)
            np.testing.assert_array_equal(params[layer]["bias"], bias, err_msg=layer)
            assert params[layer]["kernel"].dtype == np.float32

    return check


@pytest.fixture
def write_safetensors(tmp_path) -> Callable[[dict], Path]:
    """Writes a state dict as vgg16.safetensors."""

    def write(state: dict) -> Path:
        from safetensors.numpy import save_file

        save_file(state, tmp_path / "vgg16.safetensors")
        return tmp_path / "vgg16.safetensors"

    return write
