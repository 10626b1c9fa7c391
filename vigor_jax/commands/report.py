"""Makes the page of a finished run again, from where the run was started.

    vigor-jax report runs/demo

The images on it are those of the prepared data, which the run's config names.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

from vigor_jax.commands.arguments import Parser


def main(program: str, arguments: Sequence[str]) -> int:
    """Prints where the page lies."""
    parser = Parser(program, __doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="workdir of a finished run, e.g. runs/demo")
    options = parser.parse_args(arguments)

    from vigor_jax import report, tasks
    from vigor_jax.workdir import results

    config = tasks.parse_stored(results.read(options.run).config, options.run)
    entry, own = tasks.entry(config.task), None
    if entry.report is not None:
        own = functools.partial(entry.report, data=entry.load(config))
    print(report.write(options.run, own))
    return 0
