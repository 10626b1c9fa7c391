from vigor_jax.train.evaluator import EpochTable


def test_grows_under_one_header(capsys):
    table = EpochTable()
    for epoch in (1, 12):
        table.add(
            epoch,
            {"validation": {"top-1": "1.5", "hit rate": "20.25"}, "same_area": {"top-1": "100.0", "hit rate": "2"}},
        )
    assert capsys.readouterr().out.splitlines() == [
        "epoch  split          top-1  hit rate",
        "-------------------------------------",
        "    1  validation       1.5     20.25",
        "       same_area      100.0         2",
        "   12  validation       1.5     20.25",
        "       same_area      100.0         2",
    ]


def test_other_columns_get_their_header(capsys):
    table = EpochTable()
    table.add(1, {"validation": {"top-1": "1.5"}})
    table.add(2, {"validation": {"top-5": "1.5"}})
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines() if "split" in line] == ["top-1", "top-5"]


def test_a_split_prints_the_columns_that_it_has(capsys):
    EpochTable().add(1, {})  # all splits are others now
    EpochTable().add(2, {"validation": {"top-1": "1.5"}, "test": {"top-1": "2.5", "top-5": "3.5"}})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:1] + lines[2:]] == [
        ["epoch", "split", "top-1", "top-5"],
        ["2", "validation", "1.5"],
        ["test", "2.5", "3.5"],
    ]
