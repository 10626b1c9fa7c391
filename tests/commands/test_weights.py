"""`vigor-jax weights`; what fits, tests/models/pretrained says."""

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from vigor_jax.models.classifier import classifier
from vigor_jax.models.pretrained import mobilenet
from vigor_jax.models.pretrained.conversion import variable_shapes


@pytest.fixture
def mobilenet_file(tmp_path):
    """Of five classes."""
    model = classifier("mobilenet_0.25", 5)
    variables = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), variable_shapes(model, (1, 32, 32, 3)))
    save_file(mobilenet.to_torch(variables, model), tmp_path / "w.safetensors")
    return str(tmp_path / "w.safetensors")


def test_a_file_that_fits_is_reported(run_command, mobilenet_file, capsys):
    assert run_command("weights", "mobilenet_0.25", mobilenet_file, "--classes", "5") == 0
    lines = ["loaded: 137", "missing: 0", "unexpected: 0", "mismatched: 0", "ignored: 0", "preprocessing: tf"]
    assert capsys.readouterr().out.splitlines() == lines
    assert run_command("weights", "mobilenet_0.25", mobilenet_file) == 0
    assert "loaded: 135" in capsys.readouterr().out


def test_a_file_that_does_not_fit_is_reported_and_refused(run_command, mobilenet_file, capsys):
    assert run_command("weights", "mobilenet_0.25", mobilenet_file, "--classes", "6") == 2
    out, err = capsys.readouterr()
    assert "mismatched: 2\n  classifier.weight is [5, 256], expected [6, 256]\n" in out
    assert f"error: {mobilenet_file} does not fit" in err
    assert run_command("weights", "mobilenet_0.25", mobilenet_file, "--classes", "6", "--allow_partial") == 0
    assert "loaded: 135\nmissing: 0" in capsys.readouterr().out
    assert run_command("weights", "resnet50", mobilenet_file) == 2
    assert "unexpected: 137" in capsys.readouterr().out
    assert run_command("weights", "mobilenet_0.25", "/nowhere.pth") == 2
    assert "/nowhere.pth: no such file" in capsys.readouterr().err
