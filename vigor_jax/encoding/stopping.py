"""How an evaluation is ended before it is done."""

from collections.abc import Callable


class EvaluationStopped(Exception):
    """An evaluation ended before it was done, because it was asked to."""


def never() -> bool:
    """Says that nothing asks to stop: the `should_stop` of evaluations that nothing interrupts."""
    return False


def stop_if_asked(should_stop: Callable[[], bool]) -> None:
    """Raises EvaluationStopped if `should_stop` says so."""
    if should_stop():
        raise EvaluationStopped
