"""The descriptor study: a model trained at every size of descriptor, and the largest one compressed."""

import dataclasses
import gc
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from absl import logging

from vigor_jax import config as configs
from vigor_jax import tasks
from vigor_jax.config import Config, ConfigError
from vigor_jax.errors import UserError
from vigor_jax.models.vgg import scaled
from vigor_jax.parallel.mesh import data_mesh, replicated
from vigor_jax.retrieval.compression import compressions
from vigor_jax.studies.descriptor_compression import DescriptorCompression
from vigor_jax.train.loop import train_and_evaluate
from vigor_jax.workdir import finished_run

# Product quantisation of the largest descriptor: one byte for so many of its dimensions.
_DIMENSIONS_A_CODE_BYTE = (8, 16, 32, 64)
_CENTROIDS = 256  # of product quantisation, which needs as many tiles to fit on


@dataclasses.dataclass(frozen=True)
class Row:
    """One descriptor and what it finds."""

    descriptor: str  # "trained 8x64", "PCA 512", "int8", "PQ 64"
    dimension: int
    bytes: int  # stored for each tile of the gallery; of a trained descriptor as float32
    metrics: dict[str, float]  # {"<split>/<metric>": value}, by the last checkpoint


@dataclasses.dataclass(frozen=True)
class Study:
    """Every row, the trained descriptors first, and what the compressed ones are of."""

    compressed: str  # the size whose descriptor was compressed
    fit_tiles: int  # how many training tiles the compressions were fitted on
    fit_panoramas: int
    left_out: list[str]  # compressions that so few images do not allow, in a sentence each
    rows: list[Row]


def study(config: Config, sizes: Sequence[str], workdir: Path) -> Study:
    """Trains every size in `workdir/<size>`, or goes on, or reads what is complete; then compresses the largest.

    Args:
      config: of every run, apart from its name, its number of heads and their channels.
      sizes: HEADSxCHANNELS of each.
      workdir: of the study.

    Raises:
      UserError: the extra `study` is not installed, a size that this tower does not have, more than one host, or
        anything of a run.
    """
    if jax.process_count() > 1:
        raise UserError("the descriptor study runs on one host: the compressions need all descriptors in one place.")
    _require_libraries()
    runs = {size: of_size(config, size) for size in sizes}
    for run in runs.values():
        logging.info("%s: descriptors of %d numbers", run.name, dimension(run))
    trained = {}
    for count, (size, run) in enumerate(runs.items(), 1):
        logging.info("Size %d of %d, %s", count, len(runs), size)
        trained[size] = train_and_evaluate(run, workdir / size)
        gc.collect()  # the next run needs the devices' memory, which a cycle of references may still hold
    largest = max(runs, key=lambda size: dimension(runs[size]))
    rows = [
        Row(f"trained {size}", dimension(run), 4 * dimension(run), trained[size]["metrics"])
        for size, run in sorted(runs.items(), key=lambda item: -dimension(item[1]))
    ]
    logging.info("Compressing the descriptors of %s", largest)
    return _with_compressions(runs[largest], largest, workdir / largest, rows)


def dimension(config: Config) -> int:
    """How many numbers a descriptor of the spatial-aware aggregation has."""
    return config.model.num_heads * (config.model.channels_per_head or _tower_channels(config))


def of_size(config: Config, size: str) -> Config:
    """The config of one run of the sweep.

    Args:
      config: of all of them.
      size: HEADSxCHANNELS; all of the tower's channels are taken without a projection.

    Raises:
      ConfigError: the tower has fewer channels, or the config is none of a study.
    """
    heads, channels = map(int, size.split("x"))
    if channels > _tower_channels(config):
        raise ConfigError(
            f"config.model.width = {config.model.width}: a tower of {_tower_channels(config)} channels, which "
            f"the size {size} of this study exceeds. Leave the width as it is."
        )
    if config.task != "cross_view" or config.model.aggregation != "safa":
        raise ConfigError(
            f"config.task = {config.task!r}, config.model.aggregation = {config.model.aggregation!r}: the descriptor "
            "study is one of 'cross_view' with the heads of 'safa'."
        )
    if config.eval_symmetries:
        raise ConfigError("config.eval_symmetries = True: it searches by eight descriptors, and the study is of one.")
    projected = channels if channels < _tower_channels(config) else 0
    model = dataclasses.replace(config.model, num_heads=heads, channels_per_head=projected)
    run = dataclasses.replace(config, model=model)
    # The name that main.py gives the run of a config which names its size.
    named = run if config.name.endswith(f"-{size}") else dataclasses.replace(run, name=f"{config.name}-{size}")
    return tasks.parse(configs.to_dict(named))


def _tower_channels(config: Config) -> int:
    return scaled(512, config.model.width)


def _require_libraries() -> None:
    """Finds a missing library before the hours of training."""
    rows = np.eye(2, dtype=np.float32)
    for _ in compressions(rows, rows, rows, rows, components=(1,), code_bytes=(), seed=0):
        pass


def _with_compressions(config: Config, size: str, workdir: Path, rows: list[Row]) -> Study:
    run = finished_run.read(workdir, tasks.parse_stored)
    compression = DescriptorCompression(config, run.resolved)
    tiles, images = len(compression.fit_tiles), len(compression.fit_tiles) + len(compression.fit_panoramas)
    left_out = []
    components = [row for row in sorted({row.dimension for row in rows}, reverse=True) if row <= images]
    if len(components) < len({row.dimension for row in rows}):
        left_out.append(f"More than {images} principal components, as they are fitted on so many training images.")
    code_bytes = [dimension(config) // each for each in _DIMENSIONS_A_CODE_BYTE if dimension(config) % each == 0]
    if tiles < _CENTROIDS:
        left_out.append(f"Product quantisation, as its {_CENTROIDS} centroids cannot be fitted on {tiles} tiles.")
        code_bytes = []
    for sentence in left_out:
        logging.warning("Left out: %s", sentence)
    mesh = data_mesh()
    variables = jax.device_put(run.variables, replicated(mesh))
    found = compression.compressed(variables, mesh, components=components, code_bytes=code_bytes)
    compressed = []
    for each in found:
        logging.info("Evaluated %s", each.name)
        compressed.append(Row(_title(each.name), each.dimension, each.bytes_per_descriptor, each.metrics))
    return Study(size, tiles, len(compression.fit_panoramas), left_out, rows + compressed)


def _title(name: str) -> str:
    kind, _, size = name.partition("_")
    return " ".join(filter(None, [{"pca": "PCA", "pq": "PQ"}.get(kind, kind), size]))
