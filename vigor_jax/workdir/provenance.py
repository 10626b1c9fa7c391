"""What a state was made with: stored in every checkpoint, compared when a run goes on."""

import contextlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vigor_jax import config as configs
from vigor_jax.config import Config
from vigor_jax.workdir import checkpoint_files, seal
from vigor_jax.workdir.errors import DamagedCheckpoint, ResumeError

_PACKAGES = ("vigor_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
# With another value of these the steps already done are not those that this config would have done.
_FIXED = ("config.task", "config.seed", "config.batch.size")

Provenance = dict[str, Any]


def versions() -> dict[str, str]:
    """Of Python and of the packages that decide a result."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in _PACKAGES}


def make(config: Config, fingerprint: dict[str, Any], resolved: Mapping[str, Any]) -> Provenance:
    """The config, the versions and what the task says of itself (`Task`), as JSON would give them back."""
    made_with = {
        "config": configs.to_dict(config),
        "fingerprint": fingerprint,
        "resolved": dict(resolved),
        "versions": versions(),
    }
    return json.loads(json.dumps(made_with))


def resolved(workdir: Path) -> dict[str, Any]:
    """What the run in a workdir resolved (`Task.resolved`), of its newest checkpoint that can be read.

    Empty if there is none, and of a run from before this was stored. What is damaged the restoring tells.
    """
    folder = workdir / checkpoint_files.FOLDER
    found = [
        (step, each / str(step))
        for each in (folder, checkpoint_files.interrupted(folder))
        for step in checkpoint_files.steps(each)
    ]
    for _, checkpoint in sorted(found, reverse=True):
        with contextlib.suppress(DamagedCheckpoint):
            return seal.read(checkpoint).record.get("resolved", {})
    return {}


def require_resumable(stored: Provenance, current: Provenance, where: str) -> None:
    """Refuses to go on with another seed, batch or data than the run was started with.

    Args:
      stored: of the checkpoint.
      current: of this start.
      where: names the checkpoint.

    Raises:
      ResumeError: with every differing value of both.
    """
    lines = [f"  {difference}" for difference in differences(stored, current)]
    if lines:
        # A fingerprint does not say which key changed it.
        named = [line.split(":")[0].strip() for line in lines]
        others = [change for change in changes(stored, current) if change.split(":")[0] not in named]
        lines += [f"  changed besides: {change}" for change in others]
        raise ResumeError(
            f"{where} was made with other data or batches, so going on would not be the run it promises:\n"
            + "\n".join(lines)
            + "\nGive another --workdir to start afresh, the old values to go on, or --allow_changes to go on with the "
            "new ones all the same."
        )


def differences(stored: Provenance, current: Provenance) -> list[str]:
    """`key: old in the checkpoint, new now` of all that makes it another run: the seed, the batches, the data.

    A key that the config had once and has no more decided nothing: its task never read it. `changes` tells of it.
    """
    before, now, known = _fixed(stored), _fixed(current), _flatten(current["config"], "config.")
    return [
        f"{key}: {before.get(key)!r} in the checkpoint, {now.get(key)!r} now"
        for key in before | now
        if before.get(key) != now.get(key) and (key in known or not key.startswith("config."))
    ]


def changes(stored: Provenance, current: Provenance) -> list[str]:
    """`key: old -> new` of every config value that differs; for the log."""
    before, now = _flatten(stored["config"], "config."), _flatten(current["config"], "config.")
    return [
        f"{key}: {before.get(key)!r} -> {now.get(key)!r}" for key in before | now if before.get(key) != now.get(key)
    ]


def _fixed(provenance: Provenance) -> dict[str, Any]:
    config = _flatten(provenance["config"], "config.")
    fixed = {key: config[key] for key in _FIXED}
    for key, value in _flatten(provenance["fingerprint"], "").items():
        # What the fingerprint repeats of the config is shown once, by the name the user knows it by.
        fixed[f"config.{key}" if f"config.{key}" in config else f"fingerprint of {key}"] = value
    return fixed


def _flatten(tree: dict[str, Any], prefix: str) -> dict[str, Any]:
    flat = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
