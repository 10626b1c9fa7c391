"""Compares a VIGOR root with what was published: counts a city and split, missing and damaged images."""

import dataclasses
import functools
from collections import Counter
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from vigor_jax.datasets.cross_view_builder import VIEWS, View
from vigor_jax.datasets.image_codec import ImageError
from vigor_jax.datasets.ordered_pool import map_in_order
from vigor_jax.datasets.vigor import labels, pictures
from vigor_jax.datasets.vigor.image_folders import RENDERED_FILE, ImageFolders, MissingImages
from vigor_jax.errors import UserError

ImageCheck = Literal["none", "headers", "full"]

# Tiles, same-area train and test panoramas as published.
PUBLISHED = {
    "Chicago": (22_308, 12_740, 12_739),
    "NewYork": (23_279, 13_885, 13_884),
    "SanFrancisco": (24_255, 14_108, 14_107),
    "Seattle": (20_776, 11_876, 11_875),
}
_SHOWN = 10  # damaged files of a folder that the report names; --list gets all of them


@dataclasses.dataclass
class ViewReport:
    """The images of one view of one city."""

    folder: Path
    sizes: Counter[tuple[int, int]] = dataclasses.field(default_factory=Counter)  # (height, width) -> images
    missing: list[str] = dataclasses.field(default_factory=list)  # names
    damaged: list[str] = dataclasses.field(default_factory=list)  # what is wrong, naming the file


@dataclasses.dataclass
class CityReport:
    """What one city has, in one label set."""

    city: str
    label_set: labels.LabelSet | None = None  # None: tiles only
    tiles: int = 0
    train: int = 0
    test: int = 0
    views: dict[View, ViewReport] = dataclasses.field(default_factory=dict)
    problems: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def panoramas(self) -> int:
        """Of both halves of the same-area protocol."""
        return self.train + self.test


@dataclasses.dataclass
class Report:
    """What a root has."""

    root: Path
    images: ImageCheck
    cities: list[CityReport]

    @property
    def sound(self) -> bool:
        """Nothing is wrong: every image that a label names is there and, as far as looked at, whole."""
        return not any(
            report.problems or any(view.missing or view.damaged for view in report.views.values())
            for report in self.cities
        )

    def bad_files(self) -> list[str]:
        """A line for every missing or damaged image."""
        lines = []
        for report in self.cities:
            for view in report.views.values():
                lines += [f"{view.folder / name}: missing" for name in view.missing] + view.damaged
        return lines


def check(root: Path, images: ImageCheck = "headers") -> Report:
    """Looks at every city of a root.

    Args:
      root: holds `splits` or `splits__corrected`.
      images: "none": labels only; "headers": every image is there and ends as it should, a hundredth of the time of
        "full", which decodes every image.

    Raises:
      UserError: no label files at the root.
    """
    cities = labels.find_cities(root)
    if not cities:
        looked = " and ".join(str((root / folder).absolute()) for folder in labels.FOLDERS)
        below = sorted({path.parents[2] for path in root.glob(f"*/splits*/*/{labels.TILE_LIST}")})
        hint = f" There are some in {below[0]}: name that." if below else ""
        raise UserError(f"no label files: looked for <City>/{labels.TILE_LIST} in {looked}.{hint}")
    return Report(root, images, [_check_city(root, city, images) for city in cities])


def _check_city(root: Path, city: str, images: ImageCheck) -> CityReport:
    report = CityReport(city)
    try:
        names: dict[View, tuple[str, ...]] = {"aerial": labels.read_tile_list(root, city)[0], "ground": ()}
    except labels.LabelError as error:
        report.problems.append(str(error))
        return report
    report.tiles = len(names["aerial"])
    has_labels = [
        label_set
        for label_set in ("corrected", "original")
        if any(
            labels.find_file(root, city, labels.list_name(kind, label_set))
            for kind in (labels.TRAIN, labels.TEST, labels.ALL)
        )
    ]
    if has_labels:
        try:
            read = {label_set: labels.read_city(root, city, label_set) for label_set in has_labels}
        except labels.LabelError as error:
            report.problems.append(str(error))
            return report
        first = read[has_labels[0]]
        report.label_set = has_labels[0]
        report.train, report.test = int((~first.same_area_test).sum()), int(first.same_area_test.sum())
        names["ground"] = tuple(first.panorama_names)
        if len(read) == 2 and set(read["corrected"].panorama_names) != set(read["original"].panorama_names):
            report.problems.append("the corrected and the original lists name different panoramas: extract both again")
    else:
        report.notes.append("a tile list but no panoramas: it cannot be trained on or tested on until they are added")
    _compare_with_published(report)
    if (root / city / RENDERED_FILE).exists():
        report.notes.append("the images are rendered, not VIGOR's")
    if images != "none":
        _check_images(report, root, names, images)
    return report


def _compare_with_published(report: CityReport) -> None:
    if report.city not in PUBLISHED:
        report.notes.append(f"not a city of VIGOR ({', '.join(PUBLISHED)}), so there is nothing to compare with")
        return
    found = (report.tiles, report.train, report.test) if report.label_set else (report.tiles,)
    published = PUBLISHED[report.city][: len(found)]
    if any(have > want for have, want in zip(found, published, strict=True)):
        report.problems.append("more than was published: the label files are not those of VIGOR")
    elif found != published:
        report.notes.append("a subset of what was published: right for a rendered part, wrong for a whole download")


def _check_images(report: CityReport, root: Path, names: dict[View, tuple[str, ...]], images: ImageCheck) -> None:
    try:
        folders = ImageFolders.find(root, report.city)
    except MissingImages as error:
        if report.label_set or any((root / place).exists() for place in (report.city, f"satellite/{report.city}")):
            report.problems.append(str(error))
        return

    def look(path: Path, view: View) -> tuple[int, int] | str:
        try:
            return pictures.read_size(path, view) if images == "headers" else pictures.read(path, view).shape[:2]
        except ImageError as error:
            return str(error)

    for view in VIEWS:
        found = report.views[view] = ViewReport(folders.folder(view))
        found.missing = folders.missing(view, names[view])
        gone = set(found.missing)
        there = [found.folder / name for name in names[view] if name not in gone]
        looks = map_in_order(functools.partial(look, view=view), there)
        for result in tqdm(looks, f"{report.city}, {view} images", len(there), unit="image", mininterval=0.5):
            if isinstance(result, str):
                found.damaged.append(result)
            else:
                found.sizes[result] += 1
        if len(found.sizes) > 1:
            report.notes.append(f"the {view} images differ in size: VIGOR's have one, but others are resized as well")


def describe(report: Report) -> str:
    """The report for people: a table of counts beside the published ones, what is wrong, what to do."""
    lines = [f"{report.root.absolute()}", ""]
    lines.append(f"{'':14}{'tiles':>18}{'same-area train':>18}{'same-area test':>18}{'panoramas':>18}")
    total, total_published = [0] * 4, [0] * 4
    for city in report.cities:
        found = [city.tiles, city.train, city.test, city.panoramas]
        published = _published(city.city)
        total = [a + b for a, b in zip(total, found, strict=True)]
        total_published = [a + (b or 0) for a, b in zip(total_published, published, strict=True)]
        lines.append(f"{city.city:14}" + "".join(_count(a, b) for a, b in zip(found, published, strict=True)))
    lines.append(f"{'all':14}" + "".join(_count(a, b) for a, b in zip(total, total_published, strict=True)))
    lines.append(f"{'':14}{'(found/published)':>18}")
    by_name = {city.city: city.panoramas for city in report.cities}
    for half, cities in (("train", ("NewYork", "Seattle")), ("test", ("Chicago", "SanFrancisco"))):
        here = sum(by_name.get(city, 0) for city in cities)
        whole = sum(sum(PUBLISHED[city][1:]) for city in cities)
        lines.append(f"cross-area {half} ({' + '.join(cities)}): {here:,}/{whole:,} panoramas")
    for city in report.cities:
        lines += ["", f"{city.city}: {city.label_set or 'no panorama'} labels"]
        lines += [f"  note: {note}" for note in city.notes]
        lines += [f"  WRONG: {problem}" for problem in city.problems]
        for view, found in city.views.items():
            sizes = ", ".join(f"{count:,} of {h}x{w}" for (h, w), count in found.sizes.most_common(3)) or "none"
            more = f", {len(found.sizes) - 3} further sizes" if len(found.sizes) > 3 else ""
            lines.append(f"  {view} images in {found.folder}: {sizes}{more}")
            lines += _some(found.missing, "missing")
            lines += _some(found.damaged, "damaged or of another kind")
    lines += ["", _advice(report)]
    return "\n".join(lines)


def _published(city: str) -> list[int | None]:
    if city not in PUBLISHED:
        return [None] * 4
    tiles, train, test = PUBLISHED[city]
    return [tiles, train, test, train + test]


def _count(found: int, published: int | None) -> str:
    return f"{f'{found:,}/{published:,}' if published is not None else f'{found:,}':>18}"


def _some(files: list[str], what: str) -> list[str]:
    if not files:
        return []
    shown = [f"    {file}" for file in files[:_SHOWN]]
    more = [f"    and {len(files) - _SHOWN:,} more"] if len(files) > _SHOWN else []
    return [f"  WRONG: {len(files):,} {what}:", *shown, *more]


def _advice(report: Report) -> str:
    if not report.sound:
        return (
            "Not ready. Extract or fetch what is marked WRONG again; --list=FILE writes the name of every missing or "
            "damaged image."
        )
    looked = {
        "none": "The labels are sound; the images were not looked at (--images=headers or --images=full does).",
        "headers": "Every image is there and whole at both ends (--images=full also decodes them).",
        "full": "Every image is there and decodes.",
    }[report.images]
    ready = [city.city for city in report.cities if city.label_set and (city.views or report.images == "none")]
    names = ", ".join(ready) or "no city"
    return f"{looked} Labelled: {names}. Train with --config.data.root={report.root}"
