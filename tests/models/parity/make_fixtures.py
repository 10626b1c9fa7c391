"""Makes the stored fixtures anew: `python -m tests.models.parity.make_fixtures [NAME ...]`.

Needs the extra `parity` (PyTorch and transformers on a CPU; nothing is downloaded). A family is a module beside this
one with `CASES`: by name of the fixture, a function that makes it.
"""

import importlib
import sys
from collections.abc import Callable

from tests.models.parity.fixture import Fixture, save

FAMILIES = (
    "mobilenet",
    "resnet",
    "efficientnet",
    "convnext",
    "swin",
    "vit",
    "vgg",
)  # fmt: skip


def cases(family: str) -> dict[str, Callable[[], Fixture]]:
    """The fixtures of a family by name; needs PyTorch."""
    return importlib.import_module(f"tests.models.parity.{family}").CASES


def main(names: list[str]) -> None:
    """Makes the fixtures of these names, or all."""
    known = {name: make for family in FAMILIES for name, make in cases(family).items()}
    unknown = sorted(set(names) - set(known))
    if unknown:
        sys.exit(f"no fixtures {', '.join(unknown)}. Known: {', '.join(known)}.")
    for name in names or known:
        path = save(name, known[name]())
        print(f"{path.name}: {path.stat().st_size / 1000:.1f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
