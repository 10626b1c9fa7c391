"""Reading a data set of labelled images: its parts, prepared where they are not yet, as one."""

import dataclasses
import glob
import hashlib
import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from absl import logging

from vigor_jax.config import ImageDataConfig
from vigor_jax.datasets import held_out, labelled_builder, prepared_files
from vigor_jax.datasets.labelled_builder import SPLIT, LabelledBuilder, PartConfig
from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.datasets.photo_source import NoPhotos, PhotoSource
from vigor_jax.datasets.stored_images import JoinedImages
from vigor_jax.errors import UserError


def load(
    kind: type[LabelledBuilder],
    config: ImageDataConfig,
    open_source: Callable[[], PhotoSource],
    *,
    verify: bool = False,
) -> LabelledImages:
    """Reads a data set, having prepared the parts that are not yet.

    A data set once prepared is read without its raw data. While that is there, its table and a sample of its files'
    sizes are compared, so that other raw data is prepared anew, into folders of its own.

    Args:
      kind: the builder.
      config: names the raw data, the folder and the size.
      open_source: of the raw data. Raises `NoPhotos` if it is not there at all.
      verify: read all that is prepared already, and compare it with what was written.

    Raises:
      UserError: of the raw data or a prepared folder that is not as it was; or the images cannot be divided as asked.
    """
    try:
        source = open_source()
    except NoPhotos as absent:
        builders = _prepared_before(kind, config, absent)
    else:
        stem = f"{_stem(config.stored_side)}-{source.identity()}"
        parts = _whole(kind, config.data_dir, stem) or -(-len(source.table.names) // labelled_builder.PHOTOS_A_PART)
        builders = [_builder(kind, config, stem, part, parts, source) for part in range(1, parts + 1)]
    for builder in builders:
        builder.prepare(verify=verify)
    return _joined(builders, config)


def _stem(side: int) -> str:
    return f"side{side}" if side else "as-they-are"


def _builder(
    kind: type[LabelledBuilder], config: ImageDataConfig, stem: str, part: int, parts: int, source: PhotoSource | None
) -> LabelledBuilder:
    name = f"{stem}-{part}of{parts}"
    return kind(
        data_dir=config.data_dir,
        config=PartConfig(name=name, side=config.stored_side, part=part, parts=parts),
        source=source,
    )


def _prepared_parts(kind: type[LabelledBuilder], data_dir: str, stem: str) -> dict[str, dict[int, set[int]]]:
    """Of every raw data: number of parts -> parts that are prepared."""
    found: dict[str, dict[int, set[int]]] = {}
    for path in Path(data_dir).glob(f"{kind.name}/{glob.escape(stem)}*-*of*/{kind.VERSION}"):
        match = re.fullmatch(r"(.+)-(\d+)of(\d+)", path.parent.name)
        if match:
            found.setdefault(match[1], {}).setdefault(int(match[3]), set()).add(int(match[2]))
    return found


def _whole(kind: type[LabelledBuilder], data_dir: str, stem: str) -> int | None:
    """How many parts a data set was prepared in, if all of them are there."""
    for parts, there in _prepared_parts(kind, data_dir, stem).get(stem, {}).items():
        if there >= set(range(1, parts + 1)):
            return parts
    return None


def _prepared_before(kind: type[LabelledBuilder], config: ImageDataConfig, absent: NoPhotos) -> list[LabelledBuilder]:
    """The builders of what is prepared, where its raw data is not."""
    found = sorted(_prepared_parts(kind, config.data_dir, f"{_stem(config.stored_side)}-"))
    whole = {stem: parts for stem in found if (parts := _whole(kind, config.data_dir, stem))}
    if not whole:
        begun = f" Only some of its parts are prepared: {', '.join(found)}." if found else ""
        raise NoPhotos(f"{absent}{begun}") from absent
    if len(whole) > 1:
        raise UserError(
            f"{kind.name} is prepared from {len(whole)} different sources in {config.data_dir}: {', '.join(whole)}; "
            f"the raw data that would tell which is meant is not at --config.images.root={config.root}. Name the root, "
            "or delete all but one."
        )
    ((stem, parts),) = whole.items()
    logging.info("%s: read as prepared before; its raw data is not at %s", kind.name, config.root or "any root")
    return [_builder(kind, config, stem, part, parts, None) for part in range(1, parts + 1)]


def _joined(builders: Sequence[LabelledBuilder], config: ImageDataConfig) -> LabelledImages:
    tables, images, sizes = [], [], []
    for builder in builders:
        tables.append(builder.table())
        images.append(builder.images(SPLIT))
        sizes.append(builder.sizes())
        for what, count in (("images", len(images[-1])), ("sizes", len(sizes[-1]))):
            if count != len(tables[-1].names):
                raise prepared_files.changed(
                    Path(builder.data_path), f"it holds {count:,} {what}, and its table names {len(tables[-1].names):,}"
                )
    first = tables[0]
    if any(table.class_names != first.class_names or table.coarse_names != first.coarse_names for table in tables):
        raise UserError(f"{builders[0].name}: the prepared parts name different classes. Delete them.")
    whole = dataclasses.replace(
        first,
        names=tuple(itertools.chain.from_iterable(table.names for table in tables)),
        labels=np.concatenate([table.labels for table in tables]),
        split=np.concatenate([table.split for table in tables]),
        lat=np.concatenate([table.lat for table in tables]),
        lon=np.concatenate([table.lon for table in tables]),
    )
    splits = held_out.divide(whole, config.validation_fraction)
    labels, class_names = whole.labels, tuple(first.class_names)
    if config.classes == "coarse":
        if not first.coarse_names:
            raise UserError(
                f'config.images.classes = "coarse": the classes of {builders[0].name} are not grouped. Set "fine".'
            )
        labels, class_names = first.coarse_of_class[labels], tuple(first.coarse_names)
    fingerprint = hashlib.sha256(f"{config.classes}\n{whole.digest()}\n".encode())
    for builder in builders:
        fingerprint.update(f"{builder.name}/{builder.builder_config.name}/{builder.version}\n".encode())
    for rows in (splits.train, splits.validation, splits.test):
        fingerprint.update(rows.astype(np.int64).tobytes() + b"\n")
    return LabelledImages(
        name=builders[0].name,
        names=whole.names,
        labels=labels,
        class_names=class_names,
        images=JoinedImages(images),
        sizes=np.concatenate(sizes),
        train=splits.train,
        validation=splits.validation,
        test=splits.test,
        lat=whole.lat,
        lon=whole.lon,
        fingerprint=fingerprint.hexdigest(),
    )
