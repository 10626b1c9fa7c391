"""Trains and evaluates what a config says, or goes on with it where it stopped."""

from collections.abc import Sequence
from pathlib import Path

from absl import flags as absl_flags

from vigor_jax.commands import flags
from vigor_jax.parallel import distributed

USAGE = """\
usage: {program} --config=FILE[:VARIANT] [--config.KEY=VALUE ...] [--workdir=DIR]

Trains and evaluates what a config says, or goes on with it where it stopped.

  {program} --config=configs/demo.py              no data needed, minutes on a CPU
  {program} --config=configs/cross_area.py --config.data.root=/path/to/VIGOR
  {program} --config=configs/cross_area.py:siamese_vgg --config.batch.size=32 --workdir=runs/siamese

Many hosts: the same command on each. TPU pod slices, Slurm and MPI are found (--distributed=off: do not look; =on: do
not train alone). Plain machines are told: --coordinator_address=HOST:PORT --num_processes=N --process_id=I.

The workdir is runs/<config.name> unless given. The same command again goes on where the run stopped; with another
seed, data set or batch size only if told to (--allow_changes). SIGTERM or Ctrl-C once: the step under way is finished
and saved, and the exit code is 75. --profile writes a trace of a few steps to WORKDIR/profile and trains on.
Each config file says at its top what it needs and what to expect; vigor_jax/config/schema.py lists the keys of
every run, vigor_jax/tasks/TASK/config.py those of a task."""


def main(program: str, arguments: Sequence[str]) -> int:
    """Returns once the run is complete."""
    values = absl_flags.FlagValues()
    workdir = absl_flags.DEFINE_string("workdir", None, "where the run lies", flag_values=values)
    allow_changes = absl_flags.DEFINE_bool(
        "allow_changes", False, "go on with other data or batches", flag_values=values
    )
    profile = absl_flags.DEFINE_bool("profile", False, "trace some steps", flag_values=values)
    processes = flags.define_processes(values)
    config = flags.parse(values, arguments, USAGE.format(program=program)).config
    # Not before the flags are known to be good: an error in them shall not wait for JAX to load.
    from vigor_jax import compilation_cache
    from vigor_jax.train.loop import train_and_evaluate

    compilation_cache.keep()
    distributed.join(processes())
    train_and_evaluate(
        config,
        Path(workdir.value or f"runs/{config.name}"),
        allow_changes=allow_changes.value,
        profile=profile.value,
    )
    return 0
