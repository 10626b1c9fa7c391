"""What became of the arrays of a weight file."""

import dataclasses
from collections.abc import Sequence

from vigor_jax.models.pretrained.weight_file_error import WeightFileError

_SHOWN = 5  # of each kind of trouble in an error


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of a file.

    Attributes:
      loaded: names of the file whose arrays are in the variables.
      missing: names that the file lacks.
      unexpected: names of the file that the table does not know.
      mismatched: sentences about arrays of another shape than expected.
      ignored: names of the file that nobody needs, such as counters.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]
    ignored: tuple[str, ...]

    def troubles(self) -> str:
        """The three kinds of trouble with the first few names of each; empty where all fits."""
        kinds = (("missing", self.missing), ("unexpected", self.unexpected), ("of another shape", self.mismatched))
        return "; ".join(f"{len(names):,} {kind}: {some(names)}" for kind, names in kinds if names)

    def listed(self) -> str:
        """Every kind with its number of names, below it the names of what does not fit, a line each."""
        troubles = {"missing": self.missing, "unexpected": self.unexpected, "mismatched": self.mismatched}
        lines = [f"loaded: {len(self.loaded):,}"]
        for kind, names in troubles.items():
            lines += [f"{kind}: {len(names):,}", *(f"  {printable(name)}" for name in names)]
        return "\n".join([*lines, f"ignored: {len(self.ignored):,}"])


class UnfittingWeightsError(WeightFileError):
    """Arrays of a file that are not a module's, with the report on all of them."""

    def __init__(self, message: str, report: Report):
        super().__init__(message)
        self.report = report


def printable(name: str) -> str:
    """A name that a file brought along, as it can be shown."""
    return name if name.isprintable() else repr(name)


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(map(printable, names[:_SHOWN]))
    return shown + (f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else "")
