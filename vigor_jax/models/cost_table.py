"""A network's cost as text."""

from collections.abc import Sequence

from vigor_jax.models.cost import Cost, LayerCost

_HEADER = ("layer", "kind", "output", "parameters", "multiply-adds", "activation bytes")


def cost_table(cost: Cost) -> str:
    """Lines for the screen: every layer, the total, the share of each kind of layer, and the totals in short."""
    total = cost.total
    *layers, sums = _aligned([_HEADER, *map(_row, cost.layers), _row(total)], text=3)
    kinds = [("kind", "parameters", "", "multiply-adds", "", "activation bytes", "")]
    kinds += [_shares(kind, total) for kind in cost.by_kind()]
    return "\n".join([*layers, layers[1], sums, "", *_aligned(kinds, text=1), "", _in_short(total)])


def _in_short(total: LayerCost) -> str:
    return (
        f"{_three_digits(total.parameters / 1e6)} M parameters, {_three_digits(total.multiply_adds / 1e6)} M "
        f"multiply-adds and {_three_digits(total.activation_bytes / 2**20)} MiB of activations an image"
    )


def _three_digits(number: float) -> str:
    return f"{number:,.{0 if number >= 100 else 1 if number >= 10 else 2}f}"


def _row(layer: LayerCost) -> tuple[str, ...]:
    output = " x ".join(map(str, layer.output))
    return (
        layer.name or "(the network)",
        layer.kind,
        output,
        f"{layer.parameters:,}",
        f"{layer.multiply_adds:,}",
        f"{layer.activation_bytes:,}",
    )


def _shares(kind: LayerCost, total: LayerCost) -> tuple[str, ...]:
    cells = [kind.name]
    for key in ("parameters", "multiply_adds", "activation_bytes"):
        part, whole = getattr(kind, key), getattr(total, key)
        cells += [f"{part:,}", f"{part / whole:.2%}" if whole else ""]
    return tuple(cells)


def _aligned(rows: Sequence[Sequence[str]], text: int) -> list[str]:
    """Columns as wide as their widest cell, a line below the header; the first `text` to the left, numbers right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if i < text else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return [lines[0], "-" * (sum(widths) + 2 * (len(widths) - 1)), *lines[1:]]
