"""Which images train, select and test, by what the data set has."""

import numpy as np
import pytest

from vigor_jax.datasets import held_out
from vigor_jax.datasets.held_out import SplitError
from vigor_jax.datasets.image_table import ImageTable


def table(train=400, validation=0, test=0, classes=4, prefix="") -> ImageTable:
    split = np.repeat([0, 1, 2], [train, validation, test]).astype(np.int8)
    return ImageTable(
        names=tuple(f"{prefix}{i}.jpg" for i in range(len(split))),
        labels=(np.arange(len(split)) % classes).astype(np.int32),
        split=split,
        class_names=tuple("abcdefgh"[:classes]),
    )


def test_a_data_set_with_all_three_is_taken_as_it_is():
    splits = held_out.divide(table(10, 4, 3), 0.1)
    assert [rows.tolist() for rows in (splits.train, splits.validation, splits.test)] == [
        list(range(10)),
        list(range(10, 14)),
        list(range(14, 17)),
    ]


@pytest.mark.parametrize("own", [{"validation": 50}, {"test": 50}, {}])
def test_a_share_of_the_training_images_is_held_out_where_one_kind_tests(own):
    splits = held_out.divide(table(400, **own), 0.2)
    assert len(splits.train) + len(splits.validation) == 400
    assert sorted([*splits.train, *splits.validation]) == list(range(400))
    assert 50 < len(splits.validation) < 110  # 80 expected, of a standard deviation of 8
    assert splits.test.tolist() == list(range(400, 400 + sum(own.values())))


def test_without_a_share_those_that_would_test_select():
    splits = held_out.divide(table(10, 4), 0.0)
    assert (splits.train.tolist(), splits.validation.tolist(), len(splits.test)) == (
        list(range(10)),
        [10, 11, 12, 13],
        0,
    )
    with pytest.raises(SplitError, match=r"config\.images\.validation_fraction = 0"):
        held_out.divide(table(10), 0.0)


def test_names_alone_decide():
    whole = table(400)
    order = np.random.default_rng(0).permutation(400)
    shuffled = ImageTable(tuple(whole.names[i] for i in order), whole.labels[order], whole.split, whole.class_names)
    first, second = held_out.divide(whole, 0.1), held_out.divide(shuffled, 0.1)
    assert {whole.names[i] for i in first.validation} == {shuffled.names[i] for i in second.validation}
    # More images, and a larger share, hold out the same and others.
    more = table(800)
    assert set(first.validation) == {row for row in held_out.divide(more, 0.1).validation if row < 400}
    assert set(first.validation) < set(held_out.divide(whole, 0.3).validation)
    assert set(held_out.divide(table(400, prefix="other/"), 0.1).validation) != set(first.validation)


def test_every_class_trains():
    for prefix in "abcdefgh":
        few = table(12, classes=6, prefix=prefix)
        splits = held_out.divide(few, 0.49)
        assert set(few.labels[splits.train]) == set(range(6))
        # Held out are those below the share, but for the last image of a class.
        below = {i for i, name in enumerate(few.names) if held_out._position(name) < 0.49}
        assert set(splits.validation) <= below
        for row in below - set(splits.validation):
            assert {row, (row + 6) % 12} <= below
            assert held_out._position(few.names[row]) > held_out._position(few.names[(row + 6) % 12])


def test_what_cannot_be_divided():
    with pytest.raises(SplitError, match="none of the 3 images is a training image"):
        held_out.divide(table(0, 3), 0.1)
    with pytest.raises(SplitError, match="holds out none of the 2 training images"):
        held_out.divide(table(2), 1e-6)
