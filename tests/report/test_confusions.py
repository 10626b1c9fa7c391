import dataclasses

import numpy as np
import pytest

from vigor_jax.report import confusions


def test_counts(class_found):
    expected = np.zeros((5, 5), int)
    for label, predicted in zip(class_found.label, class_found.predicted, strict=True):
        expected[label, predicted] += 1
    np.testing.assert_array_equal(confusions.counts(class_found, 5), expected)


def test_the_picture_has_the_shares_and_leaves_out_what_does_not_occur(class_found, class_data):
    plot = confusions.picture("test", class_found, class_data)
    right, wrong = plot.figure.data
    assert plot.figure.layout.xaxis.ticktext == ("a &lt;b>", "pear", "plum", "fig")
    cells = {
        (row, column): value
        for trace, diagonal in ((right, True), (wrong, False))
        for row, line in enumerate(trace.z)
        for column, value in enumerate(line)
        if value is not None
        if (row == column) == diagonal
    }
    assert cells == {(0, 0): 0.5, (0, 1): 0.5, (1, 1): 0.5, (1, 2): 0.5, (2, 1): 1.0, (3, 1): 1.0}
    assert sum(value is not None for trace in plot.figure.data for line in trace.z for value in line) == len(cells)
    assert wrong.text[0][1] == "a &lt;b>, taken for pear: 1 of 2"
    assert plot.description == "Of 6 images 2 are taken for what they are, 4 for others."
    assert not plot.note


def test_of_too_many_classes_those_with_the_most_errors_are_shown(class_found, class_data, monkeypatch):
    monkeypatch.setattr(confusions, "MOST_CLASSES", 2)
    plot = confusions.picture("test", class_found, class_data)
    # Errors by row and column: 1, 1 + 3, 1 + 1 and 1.
    assert plot.figure.layout.yaxis.ticktext == ("pear", "plum")
    assert plot.note == "The 2 classes with the most errors: 2 of 4 errors."


def test_the_worst_pairs_come_by_number_then_by_share(class_found, class_data):
    pairs = confusions.worst(class_found, class_data)
    assert [(pair.true, pair.predicted, pair.count) for pair in pairs] == [
        ("plum", "pear", "1 of 1"),
        ("fig", "pear", "1 of 1"),
        ("a <b>", "pear", "1 of 2"),
        ("pear", "plum", "1 of 2"),
    ]
    assert pairs[0].name == "plum/16.jpg"
    assert pairs[0].likeness_name == "pear/1.jpg"
    assert pairs[0].outcome.replace("\xa0", " ") == "70.0 % pear"
    assert pairs[2].outcome.replace("\xa0", " ") == "60.0 % pear, 30.0 % a <b>"


def test_of_a_pair_the_image_is_shown_of_which_the_network_was_surest(class_found, class_data):
    found = dataclasses.replace(class_found, label=np.array([0, 0, 0, 1, 0, 3], np.int32))
    first = confusions.worst(found, class_data)[0]
    assert (first.true, first.predicted, first.count) == ("a <b>", "pear", "3 of 4")
    assert first.name == class_data.names[14]


def test_a_class_without_training_images_has_no_likeness(class_found, class_data):
    probable = class_found.probable.copy()
    probable[0] = (4, 0)
    pairs = confusions.worst(dataclasses.replace(class_found, probable=probable), class_data)
    assert [pair.likeness for pair in pairs if pair.predicted == "unseen"] == [""]


@pytest.mark.parametrize("shown", [1, 3])
def test_no_more_pairs_than_asked_for(class_found, class_data, monkeypatch, shown):
    monkeypatch.setattr(confusions, "MOST_PAIRS", shown)
    assert len(confusions.worst(class_found, class_data)) == shown
