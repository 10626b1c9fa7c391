"""Trains and evaluates one config: `python main.py --config=FILE[:variant] [--config.key=value ...] [--workdir=DIR]`.

Kept short; everything it calls can be called from Python:

    from vigor_jax.train.loop import train_and_evaluate
"""

import sys
from collections.abc import Sequence

from vigor_jax import console
from vigor_jax.commands import flags
from vigor_jax.errors import PREEMPTED, Preempted, UserError
from vigor_jax.parallel import distributed


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: 0; 2 after an error that the user can mend; 75 when preempted, 130 after Ctrl-C."""
    console.set_up()
    code = 1
    try:
        processes, argv = flags.processes(argv)
        allow_changes, argv = flags.allows_changes(argv)
        profile, argv = flags.profiles(argv)
        config, workdir = flags.parse(argv)
        # Not before the flags are known to be good: an error in them shall not wait for JAX to load.
        from vigor_jax import compilation_cache
        from vigor_jax.train.loop import train_and_evaluate

        compilation_cache.keep()
        distributed.join(processes)
        train_and_evaluate(config, workdir, allow_changes=allow_changes, profile=profile)
        code = 0
    except UserError as error:
        console.say(f"error: {error}")
        code = 2
    except Preempted as stop:
        console.say(f"{stop}")
        code = PREEMPTED
    except KeyboardInterrupt:
        console.say("Stopped. The same command goes on from the last checkpoint.")
        code = 130
    except Exception as error:
        lost = distributed.lost_another(error)
        if lost is None:
            raise
        console.say(f"error: {lost}")
    finally:
        distributed.leave(code)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv))
