"""Markdown tables that can be read as they are."""

from collections.abc import Sequence


def lines(cells: Sequence[Sequence[str]], *, text_columns: int) -> list[str]:
    """Lines of a table whose first row is the heading.

    Args:
      cells: rows of equally many.
      text_columns: so many from the left are flush left; those after them hold numbers, flush right.
    """
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    aligned = [str.ljust if column < text_columns else str.rjust for column in range(len(widths))]
    rule = ["-" * width if column < text_columns else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    padded = [[align(cell, width) for align, cell, width in zip(aligned, row, widths, strict=True)] for row in cells]
    return [f"| {' | '.join(row)} |" for row in (padded[0], rule, *padded[1:])]
