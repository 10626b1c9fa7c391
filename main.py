"""Trains and evaluates one config: `python main.py --config=FILE[:variant] [--config.key=value ...] [--workdir=DIR]`.

Kept short; everything it calls can be called from Python:

    from vigor_jax.train.loop import train_and_evaluate
"""

import sys
from collections.abc import Sequence

from vigor_jax import command_line, console
from vigor_jax.errors import UserError


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: 0, or 2 after an error that the user can mend, or 130 after Ctrl-C."""
    console.set_up()
    try:
        config, workdir = command_line.parse(argv)
        # Not before the flags are known to be good: an error in them shall not wait for JAX to load.
        from vigor_jax import compilation_cache
        from vigor_jax.train.loop import train_and_evaluate

        compilation_cache.keep()
        train_and_evaluate(config, workdir)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from the last checkpoint.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
