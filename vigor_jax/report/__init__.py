"""The page of a run: `write` makes WORKDIR/report.html from what the run left, as often as wanted.

One file without a single link to elsewhere: it opens from disk and can be sent by mail. Plots are drawn by plotly.js,
which lies in the page (4.8 of its megabytes), because a point that says its name, a curve that can be zoomed and
colours that follow the reader's light or dark mode are worth more here than the size; matplotlib's pictures are
smaller and offer none of the three.
"""

from collections.abc import Callable
from pathlib import Path

from vigor_jax.report import page
from vigor_jax.workdir import results
from vigor_jax.workdir.results import Results

FILE_NAME = "report.html"


def write(workdir: Path, content: Callable[[Results], page.Content] | None = None) -> Path:
    """Writes the page of a finished run, whole or not at all; returns its path.

    Args:
      workdir: holds `summary.json`, `metrics.jsonl` and, if the evaluation wrote it, `findings.npz`.
      content: of a run's results, what its task adds to the page; None adds nothing.

    Raises:
      NoFinishedRun: there is none.
      RunFileError: a file is missing, damaged or of another data set.
      ImageError: a damaged image.
    """
    workdir = Path(workdir)
    run = results.read(workdir)
    added = page.Content() if content is None else content(run)
    path = workdir / FILE_NAME
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(page.render(run, added), encoding="utf-8")
    unfinished.replace(path)
    return path
