"""Makes the page of a run again: `python -m vigor_jax.commands.report WORKDIR`, from where the run was started."""

import argparse
import functools
import sys
from pathlib import Path

from vigor_jax import config as configs
from vigor_jax import console
from vigor_jax.errors import UserError


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0, or 2 after an error that the user can mend."""
    console.set_up()
    parser = argparse.ArgumentParser(prog="python -m vigor_jax.commands.report", description=__doc__)
    parser.add_argument("workdir", type=Path, metavar="WORKDIR", help="of a finished run, e.g. runs/demo")
    options = parser.parse_args(arguments)
    try:
        # After the arguments are known to be good: plotly and the data sets take a second to load.
        from vigor_jax import datasets, report, tasks
        from vigor_jax.workdir import results as runs

        config = configs.parse(runs.read(options.workdir).config)
        load, group = (datasets.load, config.data) if config.images is None else (datasets.load_images, config.images)
        data, section = load(group, config.rendered_city), tasks.report_section(config.task)
        print(report.write(options.workdir, None if section is None else functools.partial(section, data=data)))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
