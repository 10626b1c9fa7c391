"""Every recipe as it is parsed, in text files beside this one: what changes in a config shows in their diff.

    python -m tests.configs.golden            writes them anew

`golden/<recipe>.txt` holds every value of the recipe, defaults of the schema included, and below it the values in which
each variant differs.
"""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vigor_jax.config import to_dict
from vigor_jax.tasks import parse

FOLDER = Path(__file__).with_name("golden")
_CONFIGS = Path(__file__).parents[2] / "configs"
# Beside `VARIANTS` of the recipe: what it does with a combination, or with a backbone of each kind.
_COMBINATIONS = {
    "cross_area": ("safa,rendered",),
    "demo": ("safa,vgg16", "safa,mobilenet_0.5", "safa,resnet50", "safa,vit_small_14"),
    "descriptor_study": ("cross_area", "rendered", "demo", "8x64", "demo,8x16", "1x512", "cross_area,rendered"),
    "mobilenet": ("0.5,160",),
    "same_area": ("safa,rendered", "safa,mobilenet_0.5", "safa,vit_small_14"),
    "vgg": ("vgg16_1x1,384", "vgg19,jitter"),
}


def recipes() -> list[str]:
    """Names of the files in configs/."""
    return sorted(path.stem for path in _CONFIGS.glob("*.py"))


def variants(recipe: str) -> tuple[str, ...]:
    """Those that its file names, and some combinations; without the recipe as it is."""
    named = getattr(importlib.import_module(f"configs.{recipe}"), "VARIANTS", ())
    return tuple(dict.fromkeys((*named, *_COMBINATIONS.get(recipe, ()))))


def dump(recipe: str) -> str:
    """The content of its file, from the code as it is."""
    plain = _values(recipe, "")
    blocks = [f"configs/{recipe}.py", *(f"{key} = {plain[key]}" for key in sorted(plain)), ""]
    for variant in variants(recipe):
        own = _values(recipe, variant)
        changed = {key for key in own.keys() | plain.keys() if own.get(key) != plain.get(key)}
        lines = (f"{key} = {own[key]}" if key in own else f"{key} is absent" for key in sorted(changed))
        blocks += [f"configs/{recipe}.py:{variant}", *lines, ""]
    return "\n".join(blocks)


def _values(recipe: str, variant: str) -> dict[str, str]:
    """Of each dotted key how Python writes its value."""
    config = parse(importlib.import_module(f"configs.{recipe}").get_config(variant))
    return dict(_leaves(to_dict(config)))


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", repr(value)


def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.glob("*.txt"):
        path.unlink()
    for recipe in recipes():
        (FOLDER / f"{recipe}.txt").write_text(dump(recipe))
    return 0


if __name__ == "__main__":
    sys.exit(main())
