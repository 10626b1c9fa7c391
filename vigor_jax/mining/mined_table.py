"""The host's table of the hardest tiles of each training panorama, as of any recent step."""

import threading
from collections import deque
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int


class MinedTableClosed(RuntimeError):
    """A look-up in a table that will hold no more."""


class MinedTable:
    """Which tiles were hardest for each training panorama when it last passed, as each batch may know it.

    The batch of step t is made ahead of time, while earlier updates are still being computed. So that it is always
    the same, it sees the feedback of the updates up to t - lag, which it waits for, and none later, though some may
    have arrived. The table holds what the feedback up to `recorded - 1 - lag` amounts to, and the feedback of the
    last `lag` updates one by one, to be laid over it as far as a batch may see. So batches of the steps from
    `recorded - 1` on can be made: all that a run still needs, for an update is recorded only after it had its batch.

    All methods may be called by any thread.
    """

    def __init__(self, queries: int, k: int, lag: int, batch: int):
        """Makes a table with nothing in it.

        Args:
          queries: training panoramas; they are 0..queries-1.
          k: tiles kept for each.
          lag: updates between a batch and the newest feedback that it sees; at least 1.
          batch: panoramas an update at most.
        """
        if lag < 1:
            raise ValueError(f"lag = {lag}: a batch cannot see the feedback of the update that it is made for")
        self._lag = lag
        self._shape = (batch, k)
        self._base = np.full((queries, k), -1, np.int32)
        self._log: deque[_Update] = deque()
        self._recorded = 0
        self._closed = False
        self._failure: BaseException | None = None
        self._changed = threading.Condition()

    @property
    def recorded(self) -> int:
        """Counts the updates whose feedback has been recorded: those of the steps 0..recorded-1."""
        return self._recorded

    def record(self, step: int, queries: Int[np.ndarray, "batch"], hardest: Int[np.ndarray, "batch k"]) -> None:
        """Takes the feedback of the update of a step.

        Args:
          step: counted from 0; the one after that of the last call.
          queries: panoramas of its batch, no two equal.
          hardest: the tiles hardest for each of them, hardest first; -1 after the last. They replace what was found
            for the panorama earlier.

        Raises:
          ValueError: a step out of turn, or panoramas or shapes that the table was not made for.
        """
        batch, k = self._shape
        if len(queries) > batch or hardest.shape != (len(queries), k):
            raise ValueError(f"{len(queries)} panoramas with {hardest.shape} tiles: expected at most {batch}, {k} each")
        if np.any((queries < 0) | (queries >= len(self._base))):
            raise ValueError(f"panoramas {queries.min()}..{queries.max()} in a table of {len(self._base)}")
        with self._changed:
            if step != self._recorded:
                raise ValueError(f"feedback of step {step}, where that of step {self._recorded} is next")
            self._log.append(_Update(np.array(queries, np.int32), np.array(hardest, np.int32)))
            if len(self._log) > self._lag:
                oldest = self._log.popleft()
                self._base[oldest.queries] = oldest.hardest
            self._recorded += 1
            self._changed.notify_all()

    def hardest(self, queries: Sequence[int], batch_step: int) -> list[Int[np.ndarray, "found"]]:
        """Finds the tiles hardest for each panorama as the batch of a step may see it, hardest first, if it sees any.

        Waits until the feedback of the update batch_step - lag has been recorded.

        Raises:
          MinedTableClosed: the table was closed before that.
          ValueError: a step so far back that the table already holds feedback that its batch may not see.
        """
        newest = batch_step - self._lag
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._recorded > newest)
            if self._closed:
                raise MinedTableClosed(
                    f"the mined table was closed; step {batch_step} could not be given its batch"
                ) from self._failure
            first_logged = self._recorded - len(self._log)
            if newest < first_logged - 1 and first_logged > 0:
                raise ValueError(
                    f"a batch of step {batch_step} sees the feedback up to step {newest}, but the mined table already "
                    f"holds that of step {first_logged - 1}: it can serve steps from {first_logged - 1 + self._lag} on"
                )
            return [self._as_of(newest, query) for query in queries]

    def _as_of(self, newest: int, query: int) -> Int[np.ndarray, "found"]:
        first_logged = self._recorded - len(self._log)
        row = self._base[query]
        for logged in range(newest, first_logged - 1, -1):
            found = self._log[logged - first_logged].of(query)
            if found is not None:
                row = found
                break
        return row[row >= 0]

    def state(self) -> dict[str, np.ndarray]:
        """Copies all that the batches from step `recorded` on depend on, into arrays whose shapes never change.

        `recorded` int64 scalar, `base` int32 [queries, k], and of the last `lag` updates, oldest first and -1 before
        there were as many, `log_queries` int32 [lag, batch] and `log_hardest` int32 [lag, batch, k].
        """
        batch, k = self._shape
        log_queries = np.full((self._lag, batch), -1, np.int32)
        log_hardest = np.full((self._lag, batch, k), -1, np.int32)
        with self._changed:
            for i, update in enumerate(self._log, self._lag - len(self._log)):
                log_queries[i, : len(update.queries)] = update.queries
                log_hardest[i, : len(update.queries)] = update.hardest
            recorded, base = np.array(self._recorded, np.int64), self._base.copy()
        return {"recorded": recorded, "base": base, "log_queries": log_queries, "log_hardest": log_hardest}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Becomes the table whose state this was, in another process perhaps.

        Raises:
          ValueError: the state of a table of another size.
        """
        for name, own in self.state().items():
            if np.shape(state[name]) != own.shape:
                raise ValueError(f"{name} of the mined table is {np.shape(state[name])}: expected {own.shape}")
        with self._changed:
            self._recorded = int(state["recorded"])
            self._base = np.array(state["base"], np.int32)
            logged = min(self._recorded, self._lag)
            self._log = deque(
                _Update(np.array(queries[queries >= 0], np.int32), np.array(hardest[queries >= 0], np.int32))
                for queries, hardest in zip(state["log_queries"], state["log_hardest"], strict=True)
            )
            while len(self._log) > logged:
                self._log.popleft()
            self._changed.notify_all()

    def close(self, failure: BaseException | None = None) -> None:
        """Ends all waiting, now and later: look-ups raise MinedTableClosed, with the failure as its cause if any."""
        with self._changed:
            self._failure = self._failure or failure
            self._closed = True
            self._changed.notify_all()


class _Update:
    """The feedback of one update."""

    def __init__(self, queries: Int[np.ndarray, "batch"], hardest: Int[np.ndarray, "batch k"]):
        self.queries = queries
        self.hardest = hardest
        self._row = {query: row for row, query in enumerate(queries.tolist())}

    def of(self, query: int) -> Int[np.ndarray, "k"] | None:
        row = self._row.get(query)
        return None if row is None else self.hardest[row]
