"""An archive from elsewhere writes plain files below its folder, or nothing that matters."""

import io
import shutil
import tarfile

import pytest

from vigor_jax.datasets.vigor import label_archive, labels
from vigor_jax.datasets.vigor.label_archive import ArchiveError, extract


def write(path, *members, mode="w:xz"):
    """Each member: (name, content) or (name, type, link)."""
    with tarfile.open(path, mode) as tar:
        for name, *rest in members:
            info = tarfile.TarInfo(name)
            if len(rest) == 1:
                info.size = len(rest[0])
                tar.addfile(info, io.BytesIO(rest[0]))
            else:
                info.type, info.linkname = rest
                tar.addfile(info)
    return path


@pytest.mark.parametrize("mode", ["w:xz", "w:gz", "w:bz2", "w"])
def test_labels_come_out_as_they_went_in(write_vigor, tmp_path, mode):
    mini = write_vigor()
    archive = tmp_path / "labels.tar"
    with tarfile.open(archive, mode) as tar:
        tar.add(mini.root / "splits__corrected", "./labels/splits__corrected")
        info = tarfile.TarInfo("labels/._splits")  # as some systems add
        tar.addfile(info)
    extract(archive, tmp_path / "out")
    read = labels.read_city(tmp_path / "out" / "labels", "Seattle")
    assert list(read.panorama_names) == mini.panoramas["Seattle"]


@pytest.mark.parametrize(
    "member",
    [
        ("../outside.txt", b"evil"),
        ("a/../../outside.txt", b"evil"),
        ("/tmp/outside.txt", b"evil"),
        ("a\\\\..\\\\outside.txt", b"evil"),
        ("...", b"evil"),
        ("link", tarfile.SYMTYPE, "/etc"),
        ("link", tarfile.SYMTYPE, "inside.txt"),
        ("link", tarfile.LNKTYPE, "../outside.txt"),
        ("device", tarfile.CHRTYPE, ""),
        ("pipe", tarfile.FIFOTYPE, ""),
    ],
)
def test_what_could_leave_the_folder_is_refused(tmp_path, member):
    archive = write(tmp_path / "evil.tar.xz", ("inside.txt", b"labels"), member)
    with pytest.raises(ArchiveError, match=r"evil\.tar\.xz holds .* which is no plain file or folder"):
        extract(archive, tmp_path / "out" / "here")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["evil.tar.xz", "here", "inside.txt", "out"]


def test_a_link_and_a_file_through_it(tmp_path):
    """The classical way out: first a link to another folder, then a file below the link."""
    (tmp_path / "elsewhere").mkdir()
    members = ("labels", tarfile.SYMTYPE, str(tmp_path / "elsewhere")), ("labels/outside.txt", b"evil")
    with pytest.raises(ArchiveError, match="holds 'labels'"):
        extract(write(tmp_path / "evil.tar.xz", *members), tmp_path / "out")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_bomb_stops_at_the_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(label_archive, "MAX_BYTES", 1 << 20)
    bomb = write(tmp_path / "bomb.tar.xz", ("labels.txt", bytes(8 << 20)))
    assert bomb.stat().st_size < 20_000
    with pytest.raises(ArchiveError, match=r"unpacked it has more than 1,048,576 bytes"):
        extract(bomb, tmp_path / "out")
    assert sum(path.stat().st_size for path in (tmp_path / "out").rglob("*")) <= 1 << 20
    shutil.rmtree(tmp_path / "out")
    extract(write(tmp_path / "half.tar.xz", ("labels.txt", bytes(1 << 19))), tmp_path / "out")


@pytest.mark.parametrize("mode", ["w:xz", "w:gz", "w:bz2", "w"])
def test_a_truncated_archive(tmp_path, mode):
    content = b"".join(b"%d\n" % i for i in range(20_000))
    archive = write(tmp_path / "labels.tar", ("labels.txt", content), mode=mode)
    whole = archive.read_bytes()
    for share in (0.0, 0.01, 0.5, 0.9):
        archive.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(ArchiveError, match=r"labels\.tar: not a sound archive"):
            extract(archive, tmp_path / f"out{share}")


def test_the_same_name_twice(tmp_path):
    archive = write(tmp_path / "labels.tar.xz", ("a.txt", b"one"), ("a.txt", b"two"))
    with pytest.raises(ArchiveError, match="not a sound archive"):
        extract(archive, tmp_path / "out")
    assert (tmp_path / "out" / "a.txt").read_bytes() == b"one"
