"""Looks at the raw data of labelled images: photos of each class and split, and every file that cannot be decoded."""

import dataclasses
from collections import Counter
from typing import Literal

from tqdm import tqdm

from vigor_jax import console, datasets
from vigor_jax.datasets import image_codec, image_header, photo
from vigor_jax.datasets.image_codec import ImageError
from vigor_jax.datasets.image_table import PUBLISHED_SPLITS, ImageTable
from vigor_jax.datasets.ordered_pool import map_in_order

ImageCheck = Literal["none", "headers", "full"]

_SHOWN = 10  # damaged files that the report names; --list gets all of them
_FEW = 200  # classes whose counts are all shown


@dataclasses.dataclass(frozen=True)
class PhotoReport:
    """What a root has."""

    name: str  # of the data set
    root: str
    table: ImageTable
    images: ImageCheck
    damaged: list[str]  # what is wrong with each, naming the file
    converted: Counter[str]  # what photos were that preparing makes upright RGB -> how many
    sizes: Counter[tuple[int, int]]  # (height, width) -> photos

    @property
    def sound(self) -> bool:
        """Nothing is wrong, as far as looked at."""
        return not self.damaged

    def bad_files(self) -> list[str]:
        """A line for every damaged photo."""
        return self.damaged


def check(name: str, root: str, images: ImageCheck = "headers") -> PhotoReport:
    """Looks at every photo of a root.

    Args:
      name: of the data set.
      root: of its raw data.
      images: "none": lists and folders only; "headers": the beginning and the end of every photo; "full": decodes all.

    Raises:
      UserError: nothing of the data set at the root, or files are missing or not laid out as they should be.
    """
    source = datasets.open_photos(name, root)
    table = source.table

    def look(row: int) -> tuple[tuple[int, int], tuple[str, ...]] | str:
        try:
            data = source.read(row)
            if images == "full":
                found = photo.decode(data, source.name_of(row))
                return found.image.shape[:2], found.converted
            return _header(data, source.name_of(row)), ()
        except ImageError as error:
            return str(error)

    report = PhotoReport(name, root, table, images, [], Counter(), Counter())
    if images != "none":
        rows = len(table.names)
        looks = map_in_order(look, range(rows))
        for result in tqdm(looks, f"{name} photos", rows, unit="image", mininterval=0.5, disable=console.is_quiet()):
            if isinstance(result, str):
                report.damaged.append(result)
            else:
                report.sizes[result[0]] += 1
                report.converted.update(result[1])
    return report


def _header(data: bytes, name: str) -> tuple[int, int]:
    """(height, width), having looked at both ends of a file."""
    kind = image_codec.check_start(data, name)
    try:
        header = image_header.parse(data)
    except ValueError as error:
        raise image_codec.broken(name, kind, str(error)) from error
    end = image_codec.JPEG_END if kind == "JPEG" else image_codec.PNG_END
    if header is None or end not in data[header.frame_at :]:
        raise image_codec.broken(name, kind, f"it stops after {len(data):,} bytes without its end marker")
    photo.require_fit(header, name)
    return header.size


def describe(report: PhotoReport) -> str:
    """The report for people: counts of every class and split, what is wrong, what to do."""
    table, counts = report.table, report.table.counts()
    splits = [i for i in range(len(PUBLISHED_SPLITS)) if counts[:, i].any()]
    width = max(map(len, (*table.class_names, "all")))
    lines = [report.root, "", " " * width + "".join(f"{PUBLISHED_SPLITS[i]:>12}" for i in splits)]
    rows = list(zip(table.class_names, counts, strict=True))
    if len(rows) > _FEW:
        by_count = sorted(rows, key=lambda row: row[1][splits[0]])
        lines.append(f"{len(rows):,} classes; those with the fewest and the most {PUBLISHED_SPLITS[splits[0]]} photos:")
        rows = by_count[: _SHOWN // 2] + by_count[-_SHOWN // 2 :]
    lines += [f"{name:{width}}" + "".join(f"{count[i]:>12,}" for i in splits) for name, count in rows]
    lines.append(f"{'all':{width}}" + "".join(f"{counts[:, i].sum():>12,}" for i in splits))
    if report.name == "imagenet":
        from vigor_jax.datasets.imagenet.photos import PUBLISHED

        lines.append(f"{'published':{width}}" + "".join(f"{PUBLISHED[PUBLISHED_SPLITS[i]]:>12,}" for i in splits))
    lines.append("")
    if table.coarse_names:
        lines.append(f"{len(table.class_names)} classes in {len(table.coarse_names)} coarse ones")
    if report.sizes:
        sizes = ", ".join(f"{count:,} of {h}x{w}" for (h, w), count in report.sizes.most_common(3))
        lines.append(f"sizes: {sizes}" + (f", {len(report.sizes) - 3:,} others" if len(report.sizes) > 3 else ""))
    lines += [f"{count:,} are {what}: preparing makes them RGB" for what, count in report.converted.most_common()]
    if report.damaged:
        lines.append(f"WRONG: {len(report.damaged):,} damaged or of another kind:")
        lines += [f"  {line}" for line in report.damaged[:_SHOWN]]
        if len(report.damaged) > _SHOWN:
            lines.append(f"  and {len(report.damaged) - _SHOWN:,} more; --list=FILE writes the name of every one")
        lines.append("Not ready. Fetch or extract what is marked WRONG again.")
    else:
        looked = {
            "none": "The photos were not looked at (--images=headers or --images=full does).",
            "headers": "Every photo is there and whole at both ends (--images=full also decodes them).",
            "full": "Every photo is there and decodes.",
        }[report.images]
        lines.append(f"{looked} Train with --config.images.root={report.root}")
    return "\n".join(lines)
