"""The page of a run: `write` makes WORKDIR/report.html from what the run left, as often as wanted.

One file without a single link to elsewhere: it opens from disk and can be sent by mail. Plots are drawn by plotly.js,
which lies in the page (4.8 of its megabytes), because a point that says its name, a curve that can be zoomed and
colours that follow the reader's light or dark mode are worth more here than the size; matplotlib's pictures are
smaller and offer none of the three.
"""

from pathlib import Path

from vigor_jax.datasets.cross_view import CrossViewData
from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.report import classification, cross_view, geolocation, page
from vigor_jax.report import run as runs

FILE_NAME = "report.html"

# What stands between the curves and the config, task by task; a task that is not named has nothing there.
SECTIONS = {
    "classification": classification,
    "cross_view": cross_view,
    "cross_view_distillation": cross_view,
    "geolocation": geolocation,
}


def write(workdir: Path, data: CrossViewData | LabelledImages) -> Path:
    """Writes the page of a finished run, whole or not at all; returns its path.

    Args:
      workdir: holds `summary.json`, `metrics.jsonl` and, if the evaluation wrote it, `findings.npz`.
      data: the data set of the run.

    Raises:
      ReportError: a file is missing, or of another data set.
      ImageError: a damaged image.
    """
    workdir = Path(workdir)
    run = runs.read(workdir)
    own = SECTIONS.get(run.config["task"])
    content = page.Content() if own is None else own.content(run, data)
    path = workdir / FILE_NAME
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(page.render(run, content), encoding="utf-8")
    unfinished.replace(path)
    return path
