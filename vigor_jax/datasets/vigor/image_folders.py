"""Where VIGOR's images lie: its own folder layout, or the one that later code bases made common."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from vigor_jax.datasets.cross_view_builder import View
from vigor_jax.errors import UserError
from vigor_jax.file_names import is_plain

# view -> folders a city's images may be in, the published layout first
_LAYOUTS: dict[View, tuple[str, ...]] = {
    "aerial": ("{city}/satellite", "satellite/{city}"),
    "ground": ("{city}/panorama", "ground/{city}"),
}
RENDERED_FILE = "rendered.json"  # in <City>: its images are rendered ones, and how they were rendered
_SHOWN = 5  # missing files an error lists by name


class MissingImages(UserError):
    """Image folders or files that the labels name and the disk lacks."""


@dataclasses.dataclass(frozen=True)
class ImageFolders:
    """A city's two image folders."""

    city: str
    aerial: Path
    ground: Path

    @classmethod
    def find(cls, root: Path, city: str) -> "ImageFolders":
        """Finds both folders.

        Raises:
          MissingImages: names every folder looked for; or what should be a city's name would lead elsewhere.
        """
        if not is_plain(city):
            raise MissingImages(f"{city!r} is not a city's name: names are printable and name one folder.")
        found = {view: _first_folder(root, city, view) for view in _LAYOUTS}
        for view, folder in found.items():
            if folder is None:
                looked = " and ".join(str(root / pattern.format(city=city)) for pattern in _LAYOUTS[view])
                raise MissingImages(
                    f"no {view} images of {city}: looked for the folders {looked}. Extract {city}'s images there, or "
                    "leave the city out of --config.data.train_cities and --config.data.test_cities."
                )
        return cls(city=city, aerial=found["aerial"], ground=found["ground"])

    def folder(self, view: View) -> Path:
        """The folder of a view."""
        return self.aerial if view == "aerial" else self.ground

    def missing(self, view: View, names: Sequence[str]) -> list[str]:
        """Those of the named files that are not there."""
        with os.scandir(self.folder(view)) as entries:
            there = {entry.name for entry in entries}
        return [name for name in names if name not in there]

    def require(self, view: View, names: Sequence[str]) -> None:
        """Checks that all named files are there.

        Raises:
          MissingImages: says how many are not and names the first.
        """
        missing = self.missing(view, names)
        if missing:
            more = f" and {len(missing) - _SHOWN:,} more" if len(missing) > _SHOWN else ""
            raise MissingImages(
                f"{self.folder(view)}: {len(missing):,} of {self.city}'s {len(names):,} {view} images that the labels "
                f"name are not there: {', '.join(missing[:_SHOWN])}{more}. Extract the images again; "
                "`vigor-jax check --root=...` lists all that is missing or truncated."
            )


def _first_folder(root: Path, city: str, view: View) -> Path | None:
    return next((path for pattern in _LAYOUTS[view] if (path := root / pattern.format(city=city)).is_dir()), None)
