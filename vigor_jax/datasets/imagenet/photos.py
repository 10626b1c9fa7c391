"""ImageNet's photos as its site hands them out: tar files, or what is unpacked from them."""

import dataclasses
import functools
import hashlib
import re
from pathlib import Path

import numpy as np

from vigor_jax.datasets import class_folders, image_codec
from vigor_jax.datasets.class_folders import FolderError
from vigor_jax.datasets.image_table import PUBLISHED_SPLITS, ImageTable
from vigor_jax.datasets.imagenet import devkit, tar_index
from vigor_jax.datasets.imagenet.tar_index import Member, TarReader
from vigor_jax.datasets.photo_source import NoPhotos, PhotoSource

TRAIN_TAR, VALIDATION_TAR = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
PUBLISHED = {"classes": 1_000, "train": 1_281_167, "validation": 50_000}
HOW_TO_GET = f"""\
ImageNet (ILSVRC 2012) is given to researchers who register at https://image-net.org. Its root,
--config.images.root=..., should hold
    {TRAIN_TAR}, as it comes, or train/<synset>/*.JPEG, such as train/n01440764/n01440764_18.JPEG
    {VALIDATION_TAR}, as it comes, or val/ILSVRC2012_val_*.JPEG, or val/<synset>/*.JPEG
    {devkit.NAME}.tar.gz, or unpacked: it says what classes val/ is of, unless it is sorted into synsets, and what
    the classes are called
"""
_SYNSET = re.compile(r"n\d{8}")
_VALIDATION_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")
_LARGEST_FILE = 1 << 28  # bytes
_TRAIN, _VALIDATION = PUBLISHED_SPLITS.index("train"), PUBLISHED_SPLITS.index("validation")


@dataclasses.dataclass(frozen=True, slots=True)
class _Photo:
    """One photo, wherever it lies."""

    name: str  # the same for all layouts
    synset: str
    container: Path  # a folder or a tar file
    place: str | Member  # in it


class ImageNetPhotos(PhotoSource):
    """The training and the validation photos; classes are in the order of their synsets, as all networks have them."""

    def __init__(self, root: str):
        """Looks for the parts.

        Raises:
          NoPhotos: nothing of ImageNet is there.
          FolderError: only a part is; names what is missing.
        """
        self._root = Path(root)
        train = [path for path in (self._root / "train", self._root / TRAIN_TAR) if root and path.exists()]
        validation = [path for path in (self._root / "val", self._root / VALIDATION_TAR) if root and path.exists()]
        if not train and not validation:
            raise NoPhotos(f"no ImageNet at --config.images.root={root!r}.\n\n{HOW_TO_GET}")
        self._devkit = devkit.find(self._root)
        missing = [] if train else [f"the training photos: train/ or {TRAIN_TAR}"]
        missing += [] if validation else [f"the validation photos: val/ or {VALIDATION_TAR}"]
        if validation and self._devkit is None and not self._sorted(validation[0]):
            missing.append(f"the classes of the photos in {validation[0].name}: {devkit.NAME}.tar.gz or {devkit.NAME}/")
        if missing:
            raise FolderError(f"{self._root.absolute()} lacks {', and '.join(missing)}.\n\n{HOW_TO_GET}")
        self._train, self._validation = train[0], validation[0]
        self._readers = {path: TarReader(path) for path in (self._train, self._validation) if path.suffix == ".tar"}

    def make_table(self) -> ImageTable:
        """The training photos by synset and name, then the validation photos by name.

        Raises:
          FolderError: folders or files that are not named as published, or of no known class.
        """
        train, validation = self._photos
        synsets = sorted({photo.synset for photo in train})
        index = {synset: i for i, synset in enumerate(synsets)}
        unknown = sorted({photo.synset for photo in validation} - set(synsets))
        if unknown:
            raise FolderError(
                f"{self._validation} has photos of {len(unknown):,} classes that {self._train} has none of: "
                f"{', '.join(unknown[:5])}. Fetch or unpack the training photos again."
            )
        words = self._kit.words if self._kit else {}
        return ImageTable(
            names=tuple(photo.name for photo in (*train, *validation)),
            labels=np.array([index[photo.synset] for photo in (*train, *validation)], np.int32),
            split=np.repeat(np.array([_TRAIN, _VALIDATION], np.int8), [len(train), len(validation)]),
            # With the synset, because two classes are called crane.
            class_names=tuple(f"{synset} {words.get(synset, '')}".strip() for synset in synsets),
        )

    def read(self, row: int) -> bytes:
        """The file of a photo."""
        photo = self._photo(row)
        if isinstance(photo.place, str):
            return image_codec.read_file(photo.container / photo.place)
        if photo.place.size > _LARGEST_FILE:
            raise image_codec.ImageError(
                f"{self.name_of(row)}: {photo.place.size:,} bytes, more than an image may have."
            )
        try:
            return self._readers[photo.container].read(photo.place)
        except OSError as error:
            raise image_codec.ImageError(f"{self.name_of(row)}: cannot be read ({error.strerror}).") from error

    def size_of(self, row: int) -> int:
        """Bytes of the file of a photo."""
        photo = self._photo(row)
        return (photo.container / photo.place).stat().st_size if isinstance(photo.place, str) else photo.place.size

    def name_of(self, row: int) -> str:
        """The path, or the tar file and the name within."""
        photo = self._photo(row)
        if isinstance(photo.place, str):
            return str(photo.container / photo.place)
        return f"{photo.container}: {photo.place.name}"

    def identity(self) -> str:
        """Eight digits; of tar files by their sizes, as looking through them takes minutes."""
        if self._train not in self._readers:
            return super().identity()
        sizes = [(path.name, path.stat().st_size) for path in (self._train, self._validation) if path in self._readers]
        return hashlib.sha256(repr((sizes, self._devkit is not None)).encode()).hexdigest()[:8]

    @functools.cached_property
    def _kit(self) -> devkit.Devkit | None:
        return devkit.read(self._devkit) if self._devkit else None

    @functools.cached_property
    def _photos(self) -> tuple[list[_Photo], list[_Photo]]:
        """Those of training and those of validation, in the order of the table."""
        return self._train_photos(), self._validation_photos()

    def _photo(self, row: int) -> _Photo:
        train, validation = self._photos
        return train[row] if row < len(train) else validation[row - len(train)]

    def _sorted(self, validation: Path) -> bool:
        return validation.is_dir() and any(_SYNSET.fullmatch(name) for name in class_folders.subfolders(validation))

    def _train_photos(self) -> list[_Photo]:
        where = self._train
        if where in self._readers:
            return [
                _Photo(f"train/{_synset(synset, where)}/{member.name}", synset, where, member)
                for synset, members in tar_index.members_by_archive(where).items()
                for member in members
            ]
        return [
            _Photo(f"train/{_synset(synset, where)}/{name}", synset, where, f"{synset}/{name}")
            for synset, names in class_folders.list_classes(where).items()
            for name in names
        ]

    def _validation_photos(self) -> list[_Photo]:
        where = self._validation
        places: dict[str, str | Member]
        if where in self._readers:
            places = {member.name: member for member in tar_index.members(where)}
        elif self._sorted(where):
            photos = [
                _Photo(f"val/{name}", _synset(synset, where), where, f"{synset}/{name}")
                for synset, names in class_folders.list_classes(where).items()
                for name in names
            ]
            return sorted(photos, key=lambda photo: photo.name)
        else:
            places = {name: name for name in class_folders.list_photos(where)}
        truth = self._kit.validation if self._kit else ()
        if len(places) != len(truth):
            raise FolderError(
                f"{where} holds {len(places):,} photos, and {self._devkit} knows the classes of {len(truth):,}. Fetch "
                "or unpack them again."
            )
        return [_Photo(f"val/{name}", _true_synset(name, truth, where), where, places[name]) for name in sorted(places)]


def _synset(name: str, where: Path) -> str:
    if not _SYNSET.fullmatch(name):
        raise FolderError(f"{where}: {name} is no synset, such as n01440764. Move it away.")
    return name


def _true_synset(name: str, truth: tuple[str, ...], where: Path) -> str:
    match = _VALIDATION_NAME.fullmatch(name)
    if not match or not 1 <= int(match[1]) <= len(truth):
        raise FolderError(
            f"{where}: {name} is no validation photo; they are named ILSVRC2012_val_00000001.JPEG to "
            f"ILSVRC2012_val_{len(truth):08d}.JPEG. Move it away."
        )
    return truth[int(match[1]) - 1]
