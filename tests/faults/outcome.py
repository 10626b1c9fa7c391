"""What a case is, what came of it, and the lines and the total that are printed of them."""

import dataclasses
import threading
import time
from collections.abc import Callable
from pathlib import Path


class Lost(Exception):
    """A run did not survive what was done to it; says what differs from what was promised."""


@dataclasses.dataclass(frozen=True)
class Case:
    """Something done to a run.

    Attributes:
      category: of the campaign, such as "kills".
      what: was done, for people.
      do: does it in an empty folder, and returns how many faults that were if not as many as planned; raises `Lost`.
      faults: planned.
    """

    category: str
    what: str
    do: Callable[[Path], int | None]
    faults: int = 1


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a case: `lost` says why it did not survive."""

    case: Case
    faults: int
    lost: str | None
    seconds: float


def attempt(case: Case, folder: Path) -> Outcome:
    """Does what the case says; whatever goes wrong, a defect of the campaign included, counts as lost."""
    folder.mkdir(parents=True)
    begin = time.monotonic()
    faults, lost = case.faults, None
    try:
        done = case.do(folder)
        faults = case.faults if done is None else done
    except Lost as error:
        lost = str(error)
    except Exception as error:
        lost = f"{type(error).__name__}: {error}"
    return Outcome(case, faults, lost, time.monotonic() - begin)


class Tally:
    """Prints a line a case as it ends, and at last the total; may be told by several threads."""

    def __init__(self) -> None:
        self._outcomes: list[Outcome] = []
        self._lock = threading.Lock()

    def add(self, outcome: Outcome) -> None:
        """Prints the case's line."""
        verdict = "survived" if outcome.lost is None else "LOST"
        with self._lock:
            self._outcomes.append(outcome)
            print(f"{outcome.case.category:<12}{verdict:<10}{outcome.seconds:5.0f} s  {outcome.case.what}", flush=True)
            if outcome.lost is not None:
                print("".join(f"    {line}\n" for line in outcome.lost.splitlines()), end="", flush=True)

    def total(self) -> list[str]:
        """A Markdown table of faults by category, and their sum."""
        lines = ["| | tried | survived | lost |", "|---|---|---|---|"]
        for category in dict.fromkeys(outcome.case.category for outcome in self._outcomes):
            lines.append(_row(category, [each for each in self._outcomes if each.case.category == category]))
        return [*lines, _row("total", self._outcomes)]

    @property
    def lost(self) -> bool:
        """Whether anything was."""
        return any(outcome.lost is not None for outcome in self._outcomes)


def _row(name: str, outcomes: list[Outcome]) -> str:
    tried = sum(outcome.faults for outcome in outcomes)
    lost = sum(outcome.faults for outcome in outcomes if outcome.lost is not None)
    return f"| {name} | {tried} | {tried - lost} | {lost} |"
