"""What a person gets who mistypes: one readable message, exit code 2, no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONFIG = """\
import ml_collections

def get_config(variant=""):
    if variant:
        raise ValueError(f"no variant {variant!r}")
    return ml_collections.ConfigDict({
        "name": "tiny",
        "task": "cross_view",
        "epochs": 1,
        "data": {"name": "vigor", "train_cities": ("Seattle",), "protocols": ("same_area",)},
        "model": {"aggregation": "safa"},
        "batch": {"size": 8},
    })
"""


@pytest.fixture
def run_main(tmp_path):
    """`(*flags) -> finished process` of main.py, in an empty directory with a config.py."""
    (tmp_path / "config.py").write_text(CONFIG)
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PYTHONPATH": str(ROOT),
    }

    def run(*flags):
        command = [sys.executable, ROOT / "main.py", *flags]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120)

    return run


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "error: --config is missing."),
        (["--config=nowhere.py"], "error: --config=nowhere.py: there is no file "),
        (["--config=config.py:fast"], "error: --config=config.py:fast: no variant 'fast' (config.py, line 5)"),
        (
            ["--config=config.py", "--config.batch.siez=3"],
            "error: config.batch.siez is not a config key. Did you mean config.batch.size? "
            "Allowed: augment, one_city, size.",
        ),
        (["--config=config.py", "--config.batch.size.x=3"], "config.batch.size is a value, not a group of keys."),
        (
            ["--config=config.py", "--config.images.root=x"],
            "config.images.root is not read by config.task = 'cross_view'",
        ),
        (["--config=config.py", "--config.batch.size=many"], "error: flag --config.batch.size=many: "),
        (["--config=config.py", "--config.model.aggregation=mean"], "'safa', 'gem', 'average', 'fully_connected'"),
        (["--config=config.py", "--workdri=x"], "error: there is no option --workdri. Did you mean --workdir?"),
        (["--config=config.py", "x"], "error: 'x' is not a flag."),
        # A key that the file leaves out can be given too, and is checked.
        (["--config=config.py", "--config.optimizer.learning_rate=0"], "error: config.optimizer.learning_rate = 0.0: "),
        (["--config=config.py", "--distributed=maybe"], "error: flag --distributed=maybe: "),
        (["--config=config.py", "--profile=maybe"], "error: flag --profile=maybe: "),
        (["--config=config.py", "--process_id=x"], "error: flag --process_id=x: "),
        (["--config=config.py", "--num_processes=2"], "--coordinator_address and --process_id must be given too"),
        # The devices are known before any data is looked for.
        (["--config=config.py", "--config.batch.size=12"], "error: config.batch.size = 12 cannot be divided among 8 "),
    ],
)
def test_mistakes_are_explained(run_main, flags, message):
    done = run_main(*flags)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_help_shows_commands(run_main):
    done = run_main("--help")
    assert done.returncode == 0
    assert "python main.py --config=configs/demo.py" in done.stdout
    assert done.stderr == ""


def test_missing_usage_names_the_demo(run_main):
    assert "python main.py --config=configs/demo.py" in run_main().stderr
