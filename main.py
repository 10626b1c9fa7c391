"""Trains and evaluates one config: `python main.py --config=FILE[:variant] [--config.key=value ...] [--workdir=DIR]`.

The same as `vigor-jax train`. Everything that it calls can be called from Python:

    from vigor_jax.train.loop import train_and_evaluate
"""

import sys
from collections.abc import Sequence

from vigor_jax.commands import command_line


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: 0; 2 after an error that the user can mend; 75 when preempted, 130 after Ctrl-C."""
    return command_line.run("train", argv[1:], program="python main.py")


if __name__ == "__main__":
    sys.exit(main(sys.argv))
