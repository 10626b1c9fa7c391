"""`python -m vigor_jax COMMAND` is `vigor-jax COMMAND`."""

import sys

from vigor_jax.commands import command_line

if __name__ == "__main__":
    sys.exit(command_line.main(program="python -m vigor_jax"))
