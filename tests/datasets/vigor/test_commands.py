import subprocess
import sys
from pathlib import Path

import pytest

from vigor_jax.datasets import __main__ as command


def prepare(mini, tmp_path, *changes):
    """In a process of its own: flags are defined once a process."""
    arguments = [
        "--config=configs/cross_area.py",
        f"--config.data.root={mini.root}",
        f"--config.data.data_dir={tmp_path / 'prepared'}",
        "--config.data.train_cities=('Seattle',)",
        "--config.data.test_cities=('Chicago',)",
        "--config.data.aerial_size=(32, 32)",
        "--config.data.ground_size=(32, 64)",
        "--config.model.final_pool=False",
        *changes,
    ]
    command_line = [sys.executable, "-m", "vigor_jax.datasets", "prepare", *arguments]
    repository = Path(__file__).resolve().parents[3]
    return subprocess.run(command_line, cwd=repository, capture_output=True, text=True, timeout=60)


def test_prepare_a_config(write_vigor, tmp_path):
    result = prepare(write_vigor(), tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"Seattle, Chicago in {tmp_path / 'prepared'}: 24 tiles, 14 panoramas" in result.stdout
    assert "Preparing Seattle, aerial images: 100%" in result.stderr
    assert "Using custom data configuration" not in result.stderr
    assert len(list((tmp_path / "prepared" / "vigor").glob("*/1.0.0/tables.npz"))) == 2


def test_a_users_error_has_no_traceback(write_vigor, tmp_path):
    result = prepare(write_vigor(), tmp_path, "--config.data.train_cities=('Boston',)")
    assert result.returncode == 2
    assert "no city 'Boston'" in result.stderr
    assert "Traceback" not in result.stderr


def test_unknown_arguments_are_refused(capsys):
    with pytest.raises(SystemExit):
        command.main(["check", "--root=x", "--image=full", "--fast"])
    assert "unrecognized arguments: --fast" in capsys.readouterr().err
