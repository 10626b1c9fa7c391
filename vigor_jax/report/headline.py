"""The few figures of a split that stand at the top of the page, with what they must be compared with."""

from collections.abc import Sequence

from vigor_jax.report import metrics_table, wording
from vigor_jax.report.page import Figure, Headline
from vigor_jax.workdir.results import Results


def of_split(run: Results, split: str, figures: Sequence[Sequence[str]]) -> Headline:
    """The headline of a split.

    Args:
      run: with its metrics.
      split: its name.
      figures: of each the names of metrics, of which the first that was measured is shown.
    """
    metrics = run.of_split(split)
    shown = []
    for names in figures:
        name = next((name for name in names if name in metrics), None)
        if name is not None:
            beside = [
                f"{baseline} {wording.value(name, value, 2 if baseline == 'chance' else 1)}"
                for baseline, value in metrics_table.baselines(name, metrics).items()
            ]
            shown.append(Figure(wording.metric(name), wording.value(name, metrics[name]), beside))
    return Headline(wording.plain(split), shown)
