"""Two small cities of coloured noise, and configs that train on them."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from vigor_jax import config as configs
from vigor_jax import datasets
from vigor_jax.config import Config
from vigor_jax.datasets import protocol
from vigor_jax.datasets.cross_view import CrossViewData
from vigor_jax.parallel import mesh as meshes
from vigor_jax.train.checkpoint import Checkpoints
from vigor_jax.train.state import TrainState


@pytest.fixture(scope="session")
def town_config(tmp_path_factory, write_mini_vigor) -> Callable[..., Config]:
    """`(**{"group.key": value}) -> Config`: 100 tiles and 80 panoramas a city, 60 of them in the training half."""
    folder = tmp_path_factory.mktemp("town")
    write_mini_vigor(folder / "VIGOR", rows=10, columns=10, panoramas=80, trains=60, noise=40)

    def make(**changes) -> Config:
        tree = {
            "name": "town",
            "task": "cross_view",
            "epochs": 1,
            "data": {
                "name": "vigor",
                "root": str(folder / "VIGOR"),
                "data_dir": str(folder / "prepared"),
                "train_cities": ("Seattle",),
                "test_cities": ("Chicago",),
                "protocols": ("same_area", "cross_area"),
                "aerial_size": (32, 32),
                "ground_size": (32, 64),
                "validation_fraction": 0.2,
            },
            "model": {
                "aggregation": "safa",
                "backbone": "vgg11",
                "width": 0.05,
                "num_heads": 2,
                "descriptor_dim": 16,
                "dropout": 0.0,
                "centre_descriptor": True,
                "final_pool": False,
                "aggregation_std": 0.5,
                "dtype": "float32",
            },
            "optimizer": {"learning_rate": 1e-3},
            "batch": {"size": 8},
            "eval_batch_size": 13,
            "log_every_steps": 1,
            "input_threads": 2,
        }
        for path, value in changes.items():
            *groups, key = path.split(".")
            node = tree
            for group in groups:
                node = node.setdefault(group, {})
            node[key] = value
        return configs.parse(tree)

    return make


@dataclasses.dataclass(frozen=True)
class Town:
    """The data of `town_config()` and its splits, read without a task."""

    data: CrossViewData
    splits: protocol.Splits


@pytest.fixture(scope="session")
def town(town_config) -> Town:
    config = town_config()
    data = datasets.load(config.data, config.rendered_city)
    splits = protocol.split(
        data,
        train_cities=config.data.train_cities,
        test_cities=config.data.test_cities,
        protocols=config.data.protocols,
        validation_fraction=config.data.validation_fraction,
    )
    return Town(data, splits)


@pytest.fixture(scope="session")
def leave_run() -> Callable[..., None]:
    """`(workdir, config, variables)`: makes the workdir what a run of the config leaves that ended with them."""

    def leave(workdir: Path, config: Config, variables: dict[str, Any]) -> None:
        model_state = dict(variables)
        state = TrainState(
            step=np.int32(3),
            params=model_state.pop("params"),
            model_state=model_state,
            opt_state={},
            first_nonfinite_step=np.int32(-1),
            carry={},
        )
        state = jax.device_put(state, meshes.replicated(meshes.data_mesh(jax.devices()[:1])))
        with Checkpoints(workdir / "checkpoints", newest=1, selection_metric="validation/top1") as checkpoints:
            checkpoints.save(3, state, {"config": {}}, None)
        (workdir / "summary.json").write_text(json.dumps({"config": configs.to_dict(config)}))

    return leave
