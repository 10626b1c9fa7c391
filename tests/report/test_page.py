"""The page as text; test_in_a_browser.py opens it."""

import html.parser
import json
import re
from functools import partial

import numpy as np
import pytest

from vigor_jax import report
from vigor_jax.report.query_findings import Findings
from vigor_jax.tasks.cross_view import report as cross_view_report
from vigor_jax.workdir import findings
from vigor_jax.workdir.errors import RunFileError


def cross_view_page(data):
    return partial(cross_view_report.content, data=data)


class Reader(html.parser.HTMLParser):
    """Elements with their attributes, the text of what is read, and the scripts by id."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.text, self.figures = [], [], {}
        self._within = ("", {})
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self._within = (tag, dict(attrs))
        self.elements.append(self._within)

    def handle_endtag(self, tag):
        self._within = ("", {})

    def handle_data(self, data):
        tag, attributes = self._within
        if tag == "script" and attributes.get("type") == "application/json":
            self.figures[attributes["id"]] = json.loads(data)
        elif tag not in ("script", "style"):
            self.text.append(data)

    def having(self, tag, **wanted):
        return [a for t, a in self.elements if t == tag and all(a.get(k) == v for k, v in wanted.items())]


def read(run):
    path = report.write(run.workdir, cross_view_page(run.data))
    assert path == run.workdir / "report.html"
    return read_path(path)


def read_path(path):
    page = Reader(path.read_text())
    return page, re.sub(r"\s+", " ", " ".join(page.text))


@pytest.fixture
def page(write_run, tmp_path):
    return read(write_run(tmp_path))


def test_nothing_is_fetched_from_elsewhere(page):
    elements, _ = page
    (policy,) = elements.having("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy["content"].startswith("default-src 'none'; img-src data:;")
    links = [a.get(key) for _, a in elements.elements for key in ("src", "href") if a.get(key)]
    assert len(links) > 50
    assert all(link.startswith(("data:", "#")) for link in links), [link[:60] for link in links]


def test_each_recall_stands_beside_gallery_chance_and_colour(page):
    _, text = page
    for part in ("Cross area", "Validation", "24 queries, 30 in the gallery", "Top-1", "25.0 %", "3.33 %", "15.0 %"):
        assert part in text
    for part in ("Median error", "7.5 m", "21 m", "Best by Top-1 of validation: step 8 with 25.0 %."):
        assert part in text


def test_config_machine_and_versions_are_there(page):
    _, text = page
    for part in (
        "fabricated <run>",
        "evaluate_every_epochs",
        "train_cities",
        "Seattle",
        "jax",
        "0.99",
        "abacus",
        "123.5",
        "host_memory_peak_gib",
        "3.257",
    ):
        assert part in text
    assert "not measured" in text


def test_a_run_in_which_nothing_selected_says_so(write_run, tmp_path):
    run = write_run(tmp_path)
    summary = json.loads((run.workdir / "summary.json").read_text())
    summary |= {"selection_metric": None, "best": {"step": None, "metrics": None}}
    (run.workdir / "summary.json").write_text(json.dumps(summary))
    _, text = read(run)
    assert "No split selected a checkpoint: the last one is it." in text
    assert "Best by" not in text


def test_every_plot_has_words_and_figures(page):
    elements, _ = page
    drawings = [a for t, a in elements.elements if "data-figure" in a]
    assert {a["data-figure"] for a in drawings} == set(elements.figures)
    assert len(drawings) == len(elements.figures) >= 9
    for drawing in drawings:
        assert drawing["role"] == "img"
        assert len(drawing["aria-label"]) > 20
    for name in ("training-loss", "epochs-top1", "epochs-median_m", "accuracy"):
        assert elements.figures[f"{name}-figure"]["data"]


def test_every_image_is_named(page):
    elements, _ = page
    images = elements.having("img")
    assert len(images) == 2 * 12 * 7  # splits, queries, panorama and six tiles
    for image in images:
        assert image["src"].startswith("data:image/jpeg;base64,")
        assert re.match(r"(Panorama|True tile|\d\w\w retrieved tile) ", image["alt"])


def test_it_is_a_function_of_the_workdir_and_the_data(write_run, tmp_path):
    run = write_run(tmp_path)
    pages = [report.write(run.workdir, cross_view_page(run.data)).read_bytes() for _ in range(2)]
    assert pages[0] == pages[1]
    assert not list(run.workdir.glob("*.tmp"))


def test_a_model_without_offsets(write_run, tmp_path):
    _, text = read(write_run(tmp_path, offsets=False))
    assert "predicted position" not in text
    assert "by the centre of the tile that is found first" in text
    assert "Median error, tile centre" in text


def test_a_run_without_findings_says_so(write_run, tmp_path):
    run = write_run(tmp_path)
    (run.workdir / findings.FILE_NAME).unlink()
    elements, text = read(run)
    assert "This run left no findings.npz" in text
    assert elements.having("img") == []
    assert "epochs-top1-figure" in elements.figures


def test_a_run_that_was_evaluated_once_has_no_curves_of_metrics(write_run, tmp_path):
    run = write_run(tmp_path)
    log = run.workdir / "metrics.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows if row.get("epoch", 3) == 3))
    elements, text = read(run)
    assert "training-loss-figure" in elements.figures
    assert not [name for name in elements.figures if name.startswith("epochs-")]
    assert "Evaluated once, after epoch 3: the figures are the results above." in text
    assert "Top-1 25.0 % 3.33 % 15.0 %" in text


def test_a_run_that_was_evaluated_often_does_not_say_that_it_was_once(page):
    _, text = page
    assert "once" not in text


def test_a_run_that_was_logged_once_has_a_table_in_the_place_of_curves(write_run, tmp_path):
    run = write_run(tmp_path)
    (run.workdir / "metrics.jsonl").write_text(json.dumps({"step": 12, "train/loss": 0.5}) + "\n")
    elements, text = read(run)
    assert not [name for name in elements.figures if name.startswith(("training-", "epochs-"))]
    assert "Training loss: loss 3.00 0.5" in text


def test_a_task_that_adds_nothing_has_curves_metrics_and_config(write_run, tmp_path):
    elements, text = read_path(report.write(write_run(tmp_path).workdir))
    assert {"training-loss-figure", "epochs-top1-figure", "epochs-hit_rate-figure"} <= set(elements.figures)
    assert "epochs-gallery-figure" not in elements.figures
    assert "Top-1" in text
    assert elements.having("img") == []


def test_names_are_text_wherever_they_stand(write_run, tmp_path):
    """Image files may be called anything."""
    run = write_run(tmp_path)
    hostile = "</script><script>alert(1)</script>"
    object.__setattr__(run.data.panoramas, "names", [f"{hostile}{k}" for k in range(len(run.data.panoramas))])
    elements, text = read(run)
    assert hostile in text
    assert len(elements.having("script")) == len(elements.figures) + 2
    hovers = elements.figures[f"map-cross_area-{run.data.cities.index('Chicago')}-figure"]["data"][0]["text"]
    assert all(hover.startswith("&lt;/script>") for hover in hovers)


def test_findings_of_another_data_set_are_refused(write_findings, write_run, tmp_path):
    run = write_run(tmp_path)
    found = run.found["cross_area"]
    moved = Findings(found.panorama + np.int32(500), found.top5, found.rank, found.centre_error_m)
    write_findings(run.workdir, 1, {"cross_area": moved})
    with pytest.raises(RunFileError, match="it was found in another data set"):
        report.write(run.workdir, cross_view_page(run.data))
    assert not (run.workdir / "report.html").exists()
