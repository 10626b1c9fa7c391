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

    from vigor_jax import config as configs
    from vigor_jax import datasets, report, tasks
    from vigor_jax.workdir import results as runs

    config = configs.parse(runs.read(options.run).config)
    load, group = (datasets.load, config.data) if config.images is None else (datasets.load_images, config.images)
    data, section = load(group, config.rendered_city), tasks.report_section(config.task)
    print(report.write(options.run, None if section is None else functools.partial(section, data=data)))
    return 0
