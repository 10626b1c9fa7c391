"""What can be trained: a folder or file each, and a line of the registry."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_collections

from vigor_jax import config as configs
from vigor_jax.config import Config, ConfigError
from vigor_jax.tasks import classification, cross_view, distillation, geolocation
from vigor_jax.tasks.entry import NOTHING_RESOLVED, Resolved, TaskEntry

if TYPE_CHECKING:
    from vigor_jax.tasks.task import Task

REGISTRY: dict[str, TaskEntry] = {
    "classification": classification.ENTRY,
    "cross_view": cross_view.ENTRY,
    "cross_view_distillation": distillation.CROSS_VIEW,
    "image_distillation": distillation.IMAGES,
    "geolocation": geolocation.ENTRY,
}


def entry(name: Any) -> TaskEntry:
    """Finds a task.

    Raises:
      ConfigError: none has that name.
    """
    if not isinstance(name, str) or name not in REGISTRY:
        raise ConfigError(f"config.task = {configs.shown(name)}. Allowed: {', '.join(sorted(REGISTRY))}.")
    return REGISTRY[name]


def parse(config: ml_collections.ConfigDict | Mapping[str, Any]) -> Config:
    """Checks a config by the schema of the task that it names, and freezes it.

    Raises:
      ConfigError: no such task; a key that it does not read; or as of `vigor_jax.config.parse`.
    """
    tree = configs.tree_of(config)
    if "task" not in tree:
        raise ConfigError("config.task is missing.")
    schema = entry(tree["task"]).config
    for key in tree:
        require_read(str(key), tree["task"])
        if isinstance(tree[key], Mapping):
            for inner in tree[key]:
                require_read(f"{key}.{inner}", tree["task"])
    return configs.parse(tree, schema)


def parse_stored(tree: Mapping[str, Any], workdir: Path) -> Config:
    """Reads the config that a run left, without keys that its task never read and once had all the same.

    Raises:
      ConfigError: it is none of this version.
    """
    try:
        schema = entry(tree.get("task")).config
        known = {key: value for key, value in tree.items() if not _is_read_by_others_alone(key, schema)}
        for key, value in known.items():
            if isinstance(value, Mapping):
                known[key] = {k: v for k, v in value.items() if not _is_read_by_others_alone(f"{key}.{k}", schema)}
        return configs.parse(known, schema)
    except ConfigError as error:
        raise ConfigError(f"the run in {workdir} has a config that this version does not take: {error}") from error


def create(config: Config, resolved: Resolved = NOTHING_RESOLVED) -> "Task":
    """Makes the task that a config names, with its data and its model.

    Args:
      config: of the run.
      resolved: what an earlier start of the run stored of its task (`Task.resolved`).

    Raises:
      UserError: the data, the model or the weights cannot be had.
    """
    return entry(config.task).create(config, resolved)


def check_key(path: str) -> None:
    """Refuses a dotted key, such as batch.size, that the config of no task has.

    Raises:
      ConfigError: names the closest key and those allowed.
    """
    configs.check_key(path, [each.config for each in REGISTRY.values()])


def require_read(path: str, task: str) -> None:
    """Refuses a dotted key that other tasks read and this one does not.

    Raises:
      ConfigError: names those that do.
    """
    if _is_read_by_others_alone(path, entry(task).config):
        readers = [name for name, each in REGISTRY.items() if configs.has_key(each.config, path)]
        raise ConfigError(
            f"config.{path} is not read by config.task = {task!r}, only by {' and '.join(map(repr, readers))}. "
            "Leave it out."
        )


def _is_read_by_others_alone(path: str, schema: type[Config]) -> bool:
    others = (each.config for each in REGISTRY.values())
    return not configs.has_key(schema, path) and any(configs.has_key(other, path) for other in others)
