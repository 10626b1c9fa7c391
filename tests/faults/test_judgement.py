"""The fault campaign's own judgement; that the runs survive is what `python -m tests.faults --short` tests."""

import pytest

from tests.faults import outcome, same_end

# Rows of two steps each, and an evaluation.
HISTORY = [
    {"step": 2, "train/loss": 1.5, "train/step_ms": 3.0},
    {"step": 4, "train/loss": 0.5, "train/step_ms": 3.0},
    {"step": 4, "epoch": 1, "test/top1": 0.25},
    {"step": 6, "train/loss": 0.75, "train/step_ms": 3.0},
]
DIVIDED = [*HISTORY[:3], {"step": 5, "train/loss": 0.5}, {"step": 6, "train/loss": 1.0}]


@pytest.mark.parametrize(
    ("ours", "stops", "said"),
    [
        (HISTORY, 0, None),
        (DIVIDED, 1, None),
        (DIVIDED, 0, "5 rows instead of 4"),
        ([*HISTORY[:3], {"step": 6, "train/loss": 0.750001}], 0, "train/loss 0.750001 instead of 0.75"),
        ([*HISTORY[:3], {"step": 5, "train/loss": 0.5}, {"step": 6, "train/loss": 0.9}], 1, "train/loss 0.7 instead"),
        ([*HISTORY[:1], *HISTORY[2:]], 0, "step 4 has step None instead of 4"),
        ([*HISTORY[:2], *HISTORY[3:]], 0, "step 4 has step None instead of 4"),
        ([*HISTORY, HISTORY[-1]], 1, "twice"),
        ([*HISTORY, {"step": 8, "train/loss": 0.5}], 1, "after the last step: of [8]"),
    ],
)
def test_histories_are_compared_strictly(ours, stops, said, without_measured):
    ours, theirs = ([without_measured(row) for row in rows] for rows in (ours, HISTORY))
    if said is None:
        same_end.require_same_history(ours, theirs, stops)
        return
    with pytest.raises(outcome.Lost) as lost:
        same_end.require_same_history(ours, theirs, stops)
    assert said in str(lost.value)


def test_what_goes_wrong_in_a_case_is_lost(tmp_path, capsys):
    def lose(folder):
        raise outcome.Lost("other bits\nin two lines")

    def fail(folder):
        (folder / "nowhere" / "file").read_bytes()

    tally = outcome.Tally()
    for number, (do, planned) in enumerate([(lambda folder: 4, 5), (lose, 2), (fail, 1)]):
        tally.add(outcome.attempt(outcome.Case("kills", do.__name__, do, planned), tmp_path / str(number)))
    assert tally.lost
    assert tally.total()[2:] == ["| kills | 7 | 4 | 3 |", "| total | 7 | 4 | 3 |"]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["kills", "survived"], ["kills", "LOST"]]
    assert lines[2:4] == ["    other bits", "    in two lines"]
    assert "FileNotFoundError" in lines[5]
