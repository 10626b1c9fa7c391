"""PyTorch's files, .safetensors and .pth, by the weights of torchvision's VGG-16."""

import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigor_jax.models import VGG
from vigor_jax.models.pretrained import WeightFileError


def _explicit_forward(state: dict[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    """PyTorch's own layout: images [N, C, H, W], kernels [out, in, height, width]."""
    features = images.transpose(0, 3, 1, 2).astype(np.float64)
    for position in range(31):
        if f"features.{position}.weight" in state:
            kernel = state[f"features.{position}.weight"].astype(np.float64)
            height, width = features.shape[2:]
            padded = np.pad(features, ((0, 0), (0, 0), (1, 1), (1, 1)))
            features = state[f"features.{position}.bias"][:, None, None] + sum(
                np.einsum(
                    "oi,nihw->nohw", kernel[:, :, i, j], padded[:, :, i : i + height, j : j + width], optimize=True
                )
                for i in range(3)
                for j in range(3)
            )
        elif position in (4, 9, 16, 23):
            n, c, height, width = features.shape
            features = features.reshape(n, c, height // 2, 2, width // 2, 2).max(axis=(3, 5))
        elif position < 30:
            features = np.maximum(features, 0)
    return features.transpose(0, 2, 3, 1)


def test_features_from_safetensors_are_those_of_the_published_network(
    write_safetensors, torch_state, assert_loaded, load_vgg16
):
    params, preprocessing = load_vgg16(write_safetensors(torch_state))
    assert preprocessing == "torchvision"
    assert_loaded(params)
    images = np.random.default_rng(1).normal(size=(1, 16, 32, 3)).astype(np.float32)
    features = jax.jit(VGG().apply)({"params": jax.tree.map(jnp.asarray, params)}, images)[-1]
    expected = _explicit_forward(torch_state, images)
    assert features.shape == expected.shape == (1, 1, 2, 512)
    np.testing.assert_allclose(features, expected, atol=1e-3 * expected.max())


def test_pth(tmp_path, torch_state, assert_loaded, load_vgg16):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: .pth files cannot be written or read")
    torch.save({name: torch.from_numpy(array) for name, array in torch_state.items()}, tmp_path / "vgg16.pth")
    params, preprocessing = load_vgg16(tmp_path / "vgg16.pth")
    assert preprocessing == "torchvision"
    assert_loaded(params)

    class Malicious:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    torch.save({"features.0.weight": Malicious()}, tmp_path / "malicious.pth")
    with pytest.raises(WeightFileError, match=r"malicious\.pth is not a readable PyTorch state dict"):
        load_vgg16(tmp_path / "malicious.pth")
    assert not (tmp_path / "executed").exists()


def test_pth_without_torch_says_what_to_install(tmp_path, load_vgg16):
    try:
        import torch  # noqa: F401
    except ImportError:
        pass
    else:
        pytest.skip("PyTorch is installed")
    (tmp_path / "vgg16.pth").write_bytes(b"")
    with pytest.raises(WeightFileError, match=r"vgg16\.pth: reading it needs torch\. Install it: .*safetensors"):
        load_vgg16(tmp_path / "vgg16.pth")


@pytest.mark.parametrize(("version", "refused"), [("2.5.1+cpu", True), ("1.13.0", True), ("2.6.0", False)])
def test_versions_of_torch_that_a_file_can_make_run_code(tmp_path, monkeypatch, version, refused, load_vgg16):
    loaded = []

    def load(path, *, map_location, weights_only):
        loaded.append((path, weights_only))
        raise RuntimeError("damaged")

    torch = types.ModuleType("torch")
    torch.__version__, torch.load = version, load
    monkeypatch.setitem(sys.modules, "torch", torch)
    (tmp_path / "vgg16.pth").write_bytes(b"")
    with pytest.raises(WeightFileError, match=r"Install 2\.6 or newer" if refused else "is not a readable PyTorch"):
        load_vgg16(tmp_path / "vgg16.pth")
    assert loaded == ([] if refused else [(str(tmp_path / "vgg16.pth"), True)])


def test_a_truncated_file_is_named(write_safetensors, torch_state, load_vgg16):
    path = write_safetensors({name: array for name, array in torch_state.items() if name.startswith("classifier")})
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(WeightFileError, match=r"vgg16\.safetensors is not a readable safetensors file"):
        load_vgg16(path)
