"""The page itself: what every run has, whatever it trained, around the sections of its task."""

import dataclasses
from typing import Any

import jinja2
from markupsafe import Markup

from vigor_jax.report import curves, metrics_table, plot, settings, wording
from vigor_jax.workdir.results import Results


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure worth the top of the page."""

    name: str
    value: str
    beside: list[str]  # what it must be compared with


@dataclasses.dataclass(frozen=True)
class Headline:
    """The most important figures of one split."""

    split: str
    figures: list[Figure]


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page under a heading of its own."""

    name: str  # unique on the page
    title: str
    body: Markup


@dataclasses.dataclass(frozen=True)
class Content:
    """What a task adds to the page."""

    headlines: list[Headline] = dataclasses.field(default_factory=list)
    curves: list[str] = dataclasses.field(default_factory=list)  # metrics to draw by epoch; none: all results
    sections: list[Section] = dataclasses.field(default_factory=list)


_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("vigor_jax.report"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters["plain"] = wording.plain


def render(run: Results, content: Content) -> str:
    """The whole page as HTML."""
    metrics = content.curves or _results(run)
    by_epoch = [curves.of_metric(run, metric) for metric in metrics]
    evaluations = {epoch for metric in metrics for epochs, _ in run.evaluated(metric).values() for epoch in epochs}
    return _TEMPLATES.get_template("page.html").render(
        run=run,
        headlines=content.headlines,
        tables=[metrics_table.of_split(split, run.of_split(split)) for split in run.splits],
        selected=_selected(run),
        loss=curves.of_loss(run),
        by_epoch=[found for found in by_epoch if found is not None],
        rest=curves.of_the_rest(run),
        evaluated_once=f"{evaluations.pop():g}" if len(evaluations) == 1 else None,
        logged_once=curves.logged_once(run),
        sections=content.sections,
        config=settings.of_config(run),
        machine=settings.of_machine(run),
        style=_asset("page.css"),
        script=_asset("page.js"),
        plotly=plot.plotly_script(),
    )


def fragment(template: str, **values: Any) -> Markup:
    """A part of the page from a template of this package."""
    return Markup(_TEMPLATES.get_template(template).render(**values))


def paragraph(text: str) -> Markup:
    """A paragraph of plain text."""
    return Markup("<p>{}</p>").format(text)


def _asset(name: str) -> Markup:
    return Markup(_TEMPLATES.loader.get_source(_TEMPLATES, name)[0])


def _results(run: Results) -> list[str]:
    """Every metric that is neither a size nor a baseline, for tasks that choose none."""
    metrics = dict.fromkeys(name.split("/", 1)[1] for name in run.metrics)
    prefixes = tuple(prefix for group in wording.BASELINES.values() for prefix in group)
    return [name for name in metrics if not wording.is_count(name) and not name.startswith(prefixes)]


def _selected(run: Results) -> str:
    """Which checkpoint is kept as the best, in a sentence; empty if the run does not say."""
    best, key = run.summary.get("best"), run.summary.get("selection_metric", "")
    if key is None:
        return "No split selected a checkpoint: the last one is it."
    if not best or best.get("metrics") is None or not key:
        return ""
    split, name = key.split("/", 1)
    value = wording.value(name, best["metrics"][key])
    return f"Best by {wording.metric(name)} of {split}: step {best['step']:,} with {value}."
