"""Evaluates between two steps, and writes what that finds: metrics, findings and a table of the epochs."""

import sys
from collections.abc import Mapping

from tqdm import tqdm

from vigor_jax.encoding.stopping import EvaluationStopped
from vigor_jax.train import plateau
from vigor_jax.train.run_context import RunContext
from vigor_jax.train.state import TrainState
from vigor_jax.workdir import findings, metrics_log
from vigor_jax.workdir.metrics_log import MetricWriter


class Evaluator:
    """Evaluates on all hosts and writes on the first."""

    def __init__(self, run: RunContext, writer: MetricWriter | None):
        """Prints the rows of the table that earlier starts printed; `writer` is None on all hosts but the first."""
        self._run = run
        self._writer = writer
        self._table = EpochTable()
        if writer is not None:
            for row in metrics_log.read(run.workdir / metrics_log.FILE_NAME):
                if "epoch" in row:
                    found = {name: float(value) for name, value in row.items()}
                    self._table.add(row["epoch"], run.task.table(found))

    def is_due(self, done: int) -> bool:
        """Whether the state after `done` updates is to be evaluated."""
        return self._is_regular(done) or done == self._run.total_steps

    def evaluate(self, state: TrainState, done: int) -> dict[str, float] | None:
        """The metrics after `done` updates; None, and nothing is written, if it was stopped before it had them all."""
        run, doing = self._run, f"evaluating after step {done}"
        run.watch.alive(doing)

        def should_stop() -> bool:
            run.watch.alive(doing)
            return run.signals.should_stop()

        try:
            evaluated = run.task.evaluate(state.variables, run.mesh, should_stop)
            metrics = evaluated.metrics
            if done == run.total_steps:
                metrics = metrics | run.task.evaluate_at_end(state.variables, run.mesh, should_stop)
        except EvaluationStopped:
            return None
        if self._writer is not None:
            epoch = -(-done // run.task.steps_per_epoch)
            if evaluated.findings:
                findings.write(run.workdir, done, evaluated.findings)
            self._writer.write(done, {"epoch": epoch, **metrics})
            self._table.add(epoch, run.task.table(metrics))
        return metrics

    def adjust_learning_rate(self, state: TrainState, metrics: dict[str, float] | None, done: int) -> TrainState:
        """The state, with a lower rate if it is evaluated, its schedule is the plateau's and this is one.

        Only an evaluation counts that a longer run would have had as well: one more, at the end, must not decide how
        the run goes on when it is given more epochs.
        """
        run, selected_by = self._run, self._run.task.selection_metric
        if metrics is None or selected_by is None or not self._is_regular(done):
            return state  # without a metric to select by no schedule is the plateau's (`optimizer.require_fits`)
        opt_state = plateau.observe(state.opt_state, metrics, selected_by, run.config.optimizer, run.mesh, done)
        return state.replace(opt_state=opt_state)

    def _is_regular(self, done: int) -> bool:
        return done % (self._run.config.evaluate_every_epochs * self._run.task.steps_per_epoch) == 0


class EpochTable:
    """Prints a row a split to standard output; the header comes first, and again if the columns change."""

    def __init__(self) -> None:
        self._header = ""

    def add(self, epoch: int, rows: Mapping[str, Mapping[str, str]]) -> None:
        """Prints one evaluation.

        Args:
          epoch: it followed, counted from 1.
          rows: for each split its columns (a task's `table`); one that only other splits have is left empty.
        """
        if not rows:
            return  # of the splits measured then none is measured now
        columns = list(dict.fromkeys(column for cells in rows.values() for column in cells))
        widths = [max(6, len(column)) for column in columns]
        split_width = max(12, *(len(split) for split in rows))
        header = _line("epoch", "split", split_width, columns, widths)
        if header != self._header:
            _print(f"{header}\n{'-' * len(header)}")
            self._header = header
        for index, (split, cells) in enumerate(rows.items()):
            found = [cells.get(column, "") for column in columns]
            _print(_line(str(epoch) if index == 0 else "", split, split_width, found, widths))


def _line(epoch: str, split: str, split_width: int, cells: list[str], widths: list[int]) -> str:
    padded = "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
    return f"{epoch:>5}  {split:<{split_width}}  {padded}"


def _print(text: str) -> None:
    # Through tqdm, which takes a bar off the terminal's last line while it writes.
    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()
