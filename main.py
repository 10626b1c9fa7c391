"""Trains and evaluates one config: `python main.py --config=FILE[:variant] [--config.key=value ...] [--workdir=DIR]`.

Kept short; everything it calls can be called from Python:

    from vigor_jax.train.loop import train_and_evaluate
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from vigor_jax import command_line, console
from vigor_jax.errors import UserError


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: 0, or 2 after an error that the user can mend, or 130 after Ctrl-C."""
    console.set_up()
    try:
        config, workdir = command_line.parse(argv)
        _keep_compiled_programs()
        # Not before the flags are known to be good: an error in them shall not wait for JAX to load.
        from vigor_jax.train.loop import train_and_evaluate

        train_and_evaluate(config, workdir)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from the last checkpoint.", file=sys.stderr)
        return 130
    return 0


def _keep_compiled_programs() -> None:
    """A second start finds its programs compiled. Per user, for whoever can write there can run code here."""
    import jax

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vigor_jax"
    jax.config.update("jax_compilation_cache_dir", str(cache))


if __name__ == "__main__":
    sys.exit(main(sys.argv))
