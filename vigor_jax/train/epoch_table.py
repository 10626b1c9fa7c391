"""The table that grows by one row a split with every evaluation."""

import sys
from collections.abc import Mapping

from tqdm import tqdm


class EpochTable:
    """Prints to standard output; the header comes first, and again if the columns change."""

    def __init__(self) -> None:
        self._header = ""

    def add(self, epoch: int, rows: Mapping[str, Mapping[str, str]]) -> None:
        """Prints one evaluation.

        Args:
          epoch: it followed, counted from 1.
          rows: for each split its columns (a task's `table`); all splits have the same.
        """
        columns = list(next(iter(rows.values())))
        widths = [max(6, len(column)) for column in columns]
        split_width = max(12, *(len(split) for split in rows))
        header = _line("epoch", "split", split_width, columns, widths)
        if header != self._header:
            _print(f"{header}\n{'-' * len(header)}")
            self._header = header
        for index, (split, cells) in enumerate(rows.items()):
            _print(_line(str(epoch) if index == 0 else "", split, split_width, list(cells.values()), widths))


def _line(epoch: str, split: str, split_width: int, cells: list[str], widths: list[int]) -> str:
    padded = "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
    return f"{epoch:>5}  {split:<{split_width}}  {padded}"


def _print(text: str) -> None:
    # Through tqdm, which takes a bar off the terminal's last line while it writes.
    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()
