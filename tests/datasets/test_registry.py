import subprocess
import sys

import pytest

from vigor_jax import datasets
from vigor_jax.config import ConfigError, DataConfig, RenderedCityConfig


def test_importing_the_registry_is_light():
    script = (
        "import sys, vigor_jax.datasets;"
        "heavy = {'jax', 'tensorflow', 'tensorflow_datasets', 'cv2', 'grain'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


def test_an_unknown_data_set_is_refused_with_those_there_are():
    config = DataConfig(name="vigour", train_cities=("Seattle",), protocols=("same_area",))
    with pytest.raises(ConfigError, match=r"config\.data\.name = 'vigour'\. Allowed: rendered_city, vigor\."):
        datasets.load(config, RenderedCityConfig())
