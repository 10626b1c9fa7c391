"""The page of a classifier; what every page has, test_page.py says."""

import re
from functools import partial

from vigor_jax import datasets, report
from vigor_jax.tasks.classification import report as classification_report


def classification_page(data):
    return partial(classification_report.content, data=data)


def text_of(path):
    page = re.sub(r"<(script|style)\b.*?</\1>", " ", path.read_text(), flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page)).replace("&lt;", "<").replace("&gt;", ">")


def test_figures_confusions_and_classes_are_there(write_class_run, class_data, tmp_path):
    path = report.write(write_class_run(tmp_path), classification_page(class_data))
    text = text_of(path)
    for part in ("Test", "6 images", "Top-1", "33.3 %", "20.00 %", "12.5 %", "pixels"):
        assert part in text
    assert "plum taken for pear , 1 of 1" in text
    assert "fig 0 % 100 % 1 0 pear (1)" in text
    assert '"confusions-test-figure"' in path.read_text()
    assert path.read_text().count("data:image/jpeg") == 8  # four pairs


def test_without_findings_the_page_says_so(write_class_run, class_data, tmp_path):
    (write_class_run(tmp_path) / "findings.npz").unlink()
    assert "left no findings.npz" in text_of(report.write(tmp_path, classification_page(class_data)))


def test_the_page_is_made_again_of_labelled_images(
    run_command, write_class_run, class_data, tmp_path, monkeypatch, capsys
):
    asked = []
    monkeypatch.setattr(datasets, "load_images", lambda images, city, **_: asked.append(images.name) or class_data)
    assert run_command("report", write_class_run(tmp_path)) == 0
    assert asked == ["image_folders"]
    assert capsys.readouterr().out.strip() == str(tmp_path / "report.html")
