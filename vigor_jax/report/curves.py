"""What happened from epoch to epoch: one plot a figure, one curve a split; what was measured once stands in a table."""

from vigor_jax.report import machine_panels, plot, wording
from vigor_jax.report.machine_panels import Panel
from vigor_jax.report.metrics_table import Table
from vigor_jax.report.plot import Plot
from vigor_jax.workdir.results import Results

_TABLE_ROWS = 25  # of a table beside a curve; of longer ones every so many


def of_loss(run: Results) -> Plot | None:
    """The training loss and its parts, averaged over log intervals; None if they were logged once at most."""
    return next(iter(_drawn(run, [_loss_panel(run)])), None)


def of_the_rest(run: Results) -> list[Plot]:
    """Everything else that training logged more than once; what is measured in the same way shares a plot."""
    return _drawn(run, _other_panels(run))


def logged_once(run: Results) -> Table | None:
    """The figures of training that make no curve; None if there are none."""
    rows = []
    for panel in (_loss_panel(run), *_other_panels(run)):
        for name, label in panel.labels.items():
            epochs, values = run.trained(name)
            if len(values) == 1:
                what = panel.title if panel.title == label else f"{panel.title}: {label.lower()}"
                rows.append([what, f"{epochs[0]:.2f}", _text(panel, panel.scale * values[0])])
    return Table(["", "epoch", "value"], rows) if rows else None


def of_metric(run: Results, metric: str) -> Plot | None:
    """One metric at every evaluation; None if no split has it at more than one, for a point is no curve."""
    series = {split: found for split, found in run.evaluated(metric).items() if len(found[0]) > 1}
    if not series:
        return None
    title = wording.metric(metric)
    scale = 100 if wording.is_share(metric) else 1
    drawing = plot.figure("epoch", wording.unit(metric))
    for split, (epochs, values) in series.items():
        index = run.splits.index(split)
        drawing.add_trace(plot.line(index, epochs, [scale * value for value in values], wording.plain(split)))
    drawing.update_yaxes(rangemode="tozero")
    last = ", ".join(
        f"{wording.plain(split)} {wording.value(metric, values[-1])}" for split, (_, values) in series.items()
    )
    epochs = sorted({epoch for found, _ in series.values() for epoch in found})
    by_split = {split: dict(zip(*found, strict=True)) for split, found in series.items()}
    rows = [
        [f"{epoch:g}", *(wording.value(metric, by[epoch]) if epoch in by else "" for by in by_split.values())]
        for epoch in epochs
    ]
    return Plot(
        name=f"epochs-{metric}",
        title=title,
        figure=drawing,
        description=f"{title} by epoch. After epoch {epochs[-1]:g}: {last}.",
        table=_thinned(Table(["epoch", *map(wording.plain, series)], rows)),
        height=280,
    )


def _loss_panel(run: Results) -> Panel:
    parts = [name for name in run.logged if name.endswith("_loss")]
    return Panel("Training loss", {name: wording.plain(name) for name in ("loss", *parts)}, from_zero=False)


def _other_panels(run: Results) -> list[Panel]:
    return machine_panels.panels([name for name in run.logged if name != "loss" and not name.endswith("_loss")])


def _drawn(run: Results, panels: list[Panel]) -> list[Plot]:
    return [_of_training(run, panel) for panel in panels if any(len(run.trained(name)[0]) > 1 for name in panel.labels)]


def _text(panel: Panel, value: float) -> str:
    return f"{value:.4g}{panel.unit}".replace(" ", wording.SPACE)


def _of_training(run: Results, panel: Panel) -> Plot:
    drawing = plot.figure("epoch", panel.unit)
    if panel.from_zero:
        drawing.update_yaxes(rangemode="tozero")
    changes, rows = [], {}
    for index, (name, label) in enumerate(panel.labels.items()):
        epochs, logged = run.trained(name)
        values = [panel.scale * value for value in logged]
        texts = [_text(panel, value) for value in values]
        drawing.add_trace(plot.line(index, epochs, values, label))
        for epoch, text in zip(epochs, texts, strict=True):
            rows.setdefault(epoch, {})[name] = text
        if texts:
            changes.append(f"{label} {texts[0]} to {texts[-1]}")
    cells = [[f"{epoch:.2f}", *(row.get(name, "") for name in panel.labels)] for epoch, row in sorted(rows.items())]
    told = f"from first to last: {', '.join(changes)}." if changes else "never logged."
    return Plot(
        name=f"training-{next(iter(panel.labels))}",
        title=panel.title,
        figure=drawing,
        description=f"{panel.title} by epoch, {told}",
        note=panel.note,
        table=_thinned(Table(["epoch", *panel.labels.values()], cells)),
        height=280,
    )


def _thinned(table: Table) -> Table:
    every = -(-len(table.rows) // _TABLE_ROWS)
    # Counted from the end, for the last row is the one that is looked for.
    return table if every <= 1 else Table(table.columns, table.rows[::-1][::every][::-1])
