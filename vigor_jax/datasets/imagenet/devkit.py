"""ImageNet's development kit: what the classes are called, and the classes of the validation photos."""

import dataclasses
import io
import tarfile
from pathlib import Path

import scipy.io

from vigor_jax.datasets.class_folders import FolderError

NAME = "ILSVRC2012_devkit_t12"
META = f"{NAME}/data/meta.mat"
GROUND_TRUTH = f"{NAME}/data/ILSVRC2012_validation_ground_truth.txt"
_LARGEST_FILE = 1 << 26  # bytes


@dataclasses.dataclass(frozen=True)
class Devkit:
    """What the kit says of the classes that have photos of their own."""

    words: dict[str, str]  # synset, such as n01440764 -> what it is called
    validation: tuple[str, ...]  # the synset of ILSVRC2012_val_00000001.JPEG and of each after it


def find(root: Path) -> Path | None:
    """The kit at a root, as a folder or a .tar.gz; None if there is neither."""
    return next((path for path in (root / NAME, root / f"{NAME}.tar.gz") if path.exists()), None)


def read(path: Path) -> Devkit:
    """Reads a kit, from its folder or its .tar.gz.

    Raises:
      FolderError: a file is missing or cannot be understood.
    """
    try:
        meta, truth = _files(path, META, GROUND_TRUTH)
        synsets = scipy.io.loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
        classes = [synset for synset in synsets if int(synset["num_children"]) == 0]
        # Ids are of the kit alone: 1 to 1000, in an order that no network's outputs have.
        by_id = {int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in classes}
        words = {str(synset["WNID"]): str(synset["words"]) for synset in classes}
        validation = tuple(by_id[int(line)] for line in truth.decode().split())
    # scipy's reader raises whatever a damaged file leads it to.
    except Exception as error:
        raise FolderError(
            f"{path} cannot be read ({error!r}). Fetch it again; it should hold {META} and {GROUND_TRUTH}."
        ) from error
    return Devkit(words, validation)


def _files(path: Path, *names: str) -> list[bytes]:
    if path.is_dir():
        return [(path.parent / name).read_bytes() for name in names]
    with tarfile.open(path) as archive:
        found = []
        for name in names:
            member = archive.getmember(name)
            file = archive.extractfile(member)
            if file is None or member.size > _LARGEST_FILE:
                raise ValueError(f"{name} is no file, or has {member.size:,} bytes")
            found.append(file.read())
        return found
