"""A tree of photos: `<root>/<split>/<class>/*.jpg`, or `<root>/<class>/*.jpg` without splits."""

from pathlib import Path

import numpy as np

from vigor_jax.datasets.class_folders import PHOTO_NAMES, FilePhotos, FolderError, list_classes, subfolders
from vigor_jax.datasets.image_table import PUBLISHED_SPLITS, ImageTable
from vigor_jax.datasets.photo_source import NoPhotos

# Names that the folder of a split goes by. A tree has splits if its root has a folder `train`.
SPLIT_FOLDERS = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}


class TreePhotos(FilePhotos):
    """The photos of a tree; a class is the name of its folder."""

    def __init__(self, root: str):
        """Names a tree.

        Raises:
          NoPhotos: there is no such folder.
        """
        if not root or not Path(root).is_dir():
            raise NoPhotos(
                f"no photos at --config.images.root={root!r}: it names a folder that holds <split>/<class>/<photo>, "
                f"with splits train, val and test, or <class>/<photo>; photos are {', '.join(PHOTO_NAMES)}."
            )
        super().__init__(Path(root))

    def make_table(self) -> ImageTable:
        """Every photo, split by split and class by class in the order of their names.

        Raises:
          FolderError: no classes, an empty one, one that does not train, or two folders of one split.
        """
        there = subfolders(self._root)
        if "train" not in there:
            return _table({"train": ("", list_classes(self._root))}, self._root)
        unknown = [name for name in there if name not in SPLIT_FOLDERS]
        if unknown:
            raise FolderError(
                f"{self._root} has a folder train, so the others should be splits, and {', '.join(unknown)} are none. "
                f"Splits are {', '.join(SPLIT_FOLDERS)}; move the others away."
            )
        classes: dict[str, tuple[str, dict[str, list[str]]]] = {}
        for name in sorted(there, key=list(SPLIT_FOLDERS).index):
            split = SPLIT_FOLDERS[name]
            if split in classes:
                raise FolderError(f"{self._root} has the split {split} twice: {classes[split][0]} and {name}/.")
            classes[split] = (f"{name}/", list_classes(self._root / name))
        return _table(classes, self._root)


def _table(splits: dict[str, tuple[str, dict[str, list[str]]]], root: Path) -> ImageTable:
    """The table of what lies in each split: its folder, and the photos of each class."""
    class_names = tuple(splits["train"][1])
    if not class_names:
        raise FolderError(f"{root / splits['train'][0]} holds no class folders.")
    index = {name: i for i, name in enumerate(class_names)}
    names: list[str] = []
    labels: list[int] = []
    split: list[int] = []
    for of, (folder, classes) in splits.items():
        unknown = [name for name in classes if name not in index]
        if unknown:
            raise FolderError(
                f"{root / folder}: {len(unknown):,} classes have no training photos: {', '.join(unknown[:5])}. Add "
                "photos of them to train, or remove them."
            )
        for name, photos in classes.items():
            names += [f"{folder}{name}/{photo}" for photo in photos]
            labels += [index[name]] * len(photos)
            split += [PUBLISHED_SPLITS.index(of)] * len(photos)
    return ImageTable(tuple(names), np.array(labels, np.int32), np.array(split, np.int8), class_names)
