"""Every layout that ImageNet is found in gives the same table and the same photos."""

import io
import tarfile

import numpy as np
import pytest
import scipy.io

from vigor_jax.config import ImageDataConfig
from vigor_jax.datasets import load_images
from vigor_jax.datasets.class_folders import FolderError
from vigor_jax.datasets.imagenet.photos import ImageNetPhotos
from vigor_jax.datasets.photo_source import NoPhotos

# Ids of the kit are in another order than the synsets, and it knows groups of classes besides.
KIT = [(1, "n02012849", "crane", 0), (2, "n01440764", "tench, Tinca tinca", 0), (3, "n00001740", "entity", 2)]
TRAIN = {"n02012849": ["n02012849_9.JPEG", "n02012849_10.JPEG"], "n01440764": ["n01440764_7.JPEG"]}
TRUTH = [2, 1, 1]
NAMES = (
    "train/n01440764/n01440764_7.JPEG",
    "train/n02012849/n02012849_10.JPEG",
    "train/n02012849/n02012849_9.JPEG",
    *(f"val/ILSVRC2012_val_0000000{i}.JPEG" for i in (1, 2, 3)),
)
SYNSETS = ("n01440764", "n02012849")
LABELS = [0, 1, 1, 0, 1, 1]


@pytest.fixture
def photos(make_photo):
    return {name: make_photo(row, 20 + row) for row, name in enumerate(NAMES)}


def add(archive, name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def devkit_files():
    kind = [("ILSVRC2012_ID", object), ("WNID", object), ("words", object), ("num_children", object)]
    file = io.BytesIO()
    scipy.io.savemat(file, {"synsets": np.array(KIT, dtype=kind)})
    folder = "ILSVRC2012_devkit_t12/data"
    truth = "".join(f"{label}\n" for label in TRUTH).encode()
    return {f"{folder}/meta.mat": file.getvalue(), f"{folder}/ILSVRC2012_validation_ground_truth.txt": truth}


def write(root, files):
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def write_train(root, photos, layout):
    train = {name: data for name, data in photos.items() if name.startswith("train/")}
    if layout == "folders":
        return write(root, train)
    with tarfile.open(root / "ILSVRC2012_img_train.tar", "w") as outer:
        for synset, names in TRAIN.items():
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as archive:
                for name in names:
                    add(archive, name, train[f"train/{synset}/{name}"])
            add(outer, f"{synset}.tar", inner.getvalue())


def write_validation(root, photos, layout):
    validation = {name: data for name, data in photos.items() if name.startswith("val/")}
    if layout == "flat":
        write(root, validation)
    elif layout == "sorted":
        labels = dict(zip(NAMES, LABELS, strict=True))
        write(root, {f"val/{SYNSETS[labels[name]]}/{name[4:]}": data for name, data in validation.items()})
    else:
        with tarfile.open(root / "ILSVRC2012_img_val.tar", "w") as archive:
            for name in sorted(validation, reverse=True):
                add(archive, name[4:], validation[name])


def write_devkit(root, layout):
    if layout == "folder":
        write(root, devkit_files())
    elif layout == "tar":
        with tarfile.open(root / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as archive:
            for name, data in devkit_files().items():
                add(archive, name, data)


@pytest.mark.parametrize(
    ("train", "validation", "devkit"),
    [
        ("tar", "tar", "tar"),
        ("folders", "flat", "folder"),
        ("folders", "sorted", "none"),
        ("tar", "sorted", "folder"),
        ("folders", "tar", "tar"),
    ],
)
def test_all_layouts_are_one_data_set(tmp_path, photos, train, validation, devkit):
    write_train(tmp_path, photos, train)
    write_validation(tmp_path, photos, validation)
    write_devkit(tmp_path, devkit)
    source = ImageNetPhotos(str(tmp_path))
    identity = source.identity()
    table = source.table
    assert table.names == NAMES
    assert (table.labels.tolist(), table.split.tolist()) == (LABELS, [0, 0, 0, 1, 1, 1])
    assert table.class_names == (SYNSETS if devkit == "none" else ("n01440764 tench, Tinca tinca", "n02012849 crane"))
    for row, name in enumerate(NAMES):
        assert source.read(row) == photos[name]
        assert source.size_of(row) == len(photos[name])
        assert name.rsplit("/", 1)[-1] in source.name_of(row)
    assert ImageNetPhotos(str(tmp_path)).identity() == identity


def test_prepared_and_read_without_the_raw_data(tmp_path, photos):
    write_train(tmp_path, photos, "tar")
    write_validation(tmp_path, photos, "tar")
    write_devkit(tmp_path, "tar")
    config = {"name": "imagenet", "data_dir": str(tmp_path / "prepared"), "stored_side": 16, "validation_fraction": 0.0}
    first = load_images(ImageDataConfig(root=str(tmp_path), **config))
    again = load_images(ImageDataConfig(root=str(tmp_path / "gone"), **config))
    assert again.fingerprint == first.fingerprint
    assert again.class_names == ("n01440764 tench, Tinca tinca", "n02012849 crane")
    assert again.sizes.tolist() == [[16, round(16 * 36 / (20 + row))] for row in range(6)]
    assert (again.train.tolist(), again.validation.tolist(), again.test.tolist()) == ([0, 1, 2], [3, 4, 5], [])


@pytest.mark.parametrize(
    ("train", "validation", "devkit", "message"),
    [
        (None, "tar", "tar", r"lacks the training photos: train/ or ILSVRC2012_img_train\.tar"),
        ("folders", None, "tar", r"lacks the validation photos: val/ or ILSVRC2012_img_val\.tar"),
        ("folders", "flat", None, r"lacks the classes of the photos in val: ILSVRC2012_devkit_t12\.tar\.gz or"),
        ("folders", "tar", None, r"the classes of the photos in ILSVRC2012_img_val\.tar: ILSVRC2012_devkit"),
    ],
)
def test_parts_that_are_missing_are_named(tmp_path, photos, train, validation, devkit, message):
    if train:
        write_train(tmp_path, photos, train)
    if validation:
        write_validation(tmp_path, photos, validation)
    if devkit:
        write_devkit(tmp_path, devkit)
    with pytest.raises(FolderError, match=message) as caught:
        ImageNetPhotos(str(tmp_path))
    assert "https://image-net.org" in str(caught.value)
    with pytest.raises(NoPhotos, match=r"ILSVRC2012_img_train\.tar, as it comes, or train/<synset>"):
        ImageNetPhotos("")


def test_files_that_are_not_as_published(tmp_path, photos):
    def table(change):
        root = tmp_path / change.__name__
        root.mkdir()
        write_train(root, photos, "folders")
        write_validation(root, photos, "flat")
        write_devkit(root, "folder")
        change(root)
        return ImageNetPhotos(str(root)).table

    def fewer(root):
        (root / "val/ILSVRC2012_val_00000002.JPEG").unlink()

    def renamed(root):
        (root / "val/ILSVRC2012_val_00000002.JPEG").rename(root / "val/ILSVRC2012_val_00000004.JPEG")

    def stranger(root):
        (root / "train/n01440764").rename(root / "train/fish")

    def untrained(root):
        (root / "train/n01440764/n01440764_7.JPEG").unlink()
        (root / "train/n01440764").rmdir()

    def damaged(root):
        (root / "ILSVRC2012_devkit_t12/data/meta.mat").write_bytes(b"no such thing")

    for change, message in (
        (fewer, r"holds 2 photos, and .* knows the classes of 3"),
        (renamed, r"ILSVRC2012_val_00000004\.JPEG is no validation photo"),
        (stranger, "fish is no synset"),
        (untrained, "has photos of 1 classes that .* has none of: n01440764"),
        (damaged, "ILSVRC2012_devkit_t12 cannot be read .* Fetch it again; it should hold"),
    ):
        with pytest.raises(FolderError, match=message):
            table(change)


def test_tar_files_cut_short(tmp_path, photos):
    write_train(tmp_path, photos, "tar")
    write_validation(tmp_path, photos, "sorted")
    path = tmp_path / "ILSVRC2012_img_train.tar"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(FolderError, match=r"img_train\.tar .*Fetch"):
        _ = ImageNetPhotos(str(tmp_path)).table
    path.write_bytes(b"x" * 2000)
    with pytest.raises(FolderError, match=r"img_train\.tar cannot be read as a tar file"):
        _ = ImageNetPhotos(str(tmp_path)).table
