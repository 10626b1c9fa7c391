import concurrent.futures
import dataclasses
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from vigor_jax.datasets import cross_view_builder, image_codec, prepared_builder, prepared_files
from vigor_jax.datasets.city_table import CityTable
from vigor_jax.datasets.cross_view_builder import CityConfig, CrossViewBuilder
from vigor_jax.errors import UserError


def make_table(tiles: int, panoramas: int, seed: int) -> CityTable:
    rng = np.random.default_rng(seed)
    return CityTable(
        tile_names=tuple(f"tile_{seed}_{i}.png" for i in range(tiles)),
        tile_lat=rng.uniform(40, 41, tiles),
        tile_lon=rng.uniform(-74, -73, tiles),
        panorama_names=tuple(f"pano,{seed},{i},.jpg" for i in range(panoramas)),
        panorama_lat=rng.uniform(40, 41, panoramas),
        panorama_lon=rng.uniform(-74, -73, panoramas),
        references=rng.integers(0, tiles, (panoramas, 4)).astype(np.int32),
        offset_px=rng.normal(0, 100, (panoramas, 4, 2)),
        same_area_test=rng.random(panoramas) < 0.5,
    )


def colour(seed: int, view: str, row: int) -> np.ndarray:
    """One colour a row, so that a decoded image tells which row it is."""
    return np.array([row % 250, 40 * seed + (100 if view == "ground" else 0), 10 * (row // 250)], np.uint8)


@dataclasses.dataclass(kw_only=True)
class PatchesConfig(CityConfig):
    tiles: int = 6
    panoramas: int = 9
    seed: int = 0
    broken_row: int | None = None


class Patches(CrossViewBuilder, skip_registration=True):
    """Every image is one flat colour."""

    name = "patches"

    def make_table(self):
        config = self.builder_config
        return make_table(config.tiles, config.panoramas, config.seed)

    def pictures(self, view, table):
        config = self.builder_config
        rows = len(table.tile_lat if view == "aerial" else table.panorama_lat)
        shape = (48, 48, 3) if view == "aerial" else (32, 64, 3)
        for row in range(rows):

            def make(row=row):
                if view == "ground" and row == config.broken_row:
                    image_codec.decode(b"", "broken.jpg")
                return np.full(shape, colour(config.seed, view, row), np.uint8)

            yield make


def build(tmp_path, kind=Patches, *, city="Alpha", name="patches", **content) -> Patches:
    config = PatchesConfig(name=f"{city}-{name}", city=city, aerial_size=(24, 24), ground_size=(16, 32), **content)
    return kind(data_dir=tmp_path, config=config)


def assert_row(data, seed, view, row):
    image = image_codec.decode(data, "prepared")
    assert image.shape == ((24, 24, 3) if view == "aerial" else (16, 32, 3))
    np.testing.assert_allclose(image.reshape(-1, 3).mean(0), colour(seed, view, row), atol=2)


def test_rows_come_back_in_order_from_one_shard(tmp_path):
    builder = build(tmp_path)
    builder.prepare()
    for view, rows in (("aerial", 6), ("ground", 9)):
        images = builder.images(view)
        assert len(images) == rows
        for row in range(rows):
            assert_row(images[row], 0, view, row)
    for field in dataclasses.fields(CityTable):
        np.testing.assert_array_equal(getattr(builder.table(), field.name), getattr(make_table(6, 9, 0), field.name))


def test_rows_come_back_in_order_from_several_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(prepared_builder, "IMAGES_PER_SHARD", 100)
    builder = build(tmp_path, tiles=20, panoramas=743)
    builder.prepare()
    files = sorted(path.name for path in builder.data_path.glob("*ground*"))
    assert len(files) == 8
    images = builder.images("ground")
    assert len(images) == 743
    for row in np.random.default_rng(0).permutation(743)[:100]:
        assert_row(images[row], 0, "ground", row)
    for row in (0, 92, 93, 94, 742):
        assert_row(images[row], 0, "ground", row)


def test_cities_are_joined(tmp_path):
    builders = [build(tmp_path, city="Alpha"), build(tmp_path, city="Beta", seed=1, tiles=4, panoramas=5)]
    data = cross_view_builder.load(builders, "patches")
    alpha, beta = make_table(6, 9, 0), make_table(4, 5, 1)
    assert data.cities == ("Alpha", "Beta")
    assert list(data.tiles.names) == [*alpha.tile_names, *beta.tile_names]
    assert list(data.panoramas.names) == [*alpha.panorama_names, *beta.panorama_names]
    assert data.tiles.city.tolist() == [0] * 6 + [1] * 4
    assert data.panoramas.city.tolist() == [0] * 9 + [1] * 5
    np.testing.assert_array_equal(data.panoramas.references, np.concatenate([alpha.references, beta.references + 6]))
    np.testing.assert_array_equal(data.panoramas.offset_px, np.concatenate([alpha.offset_px, beta.offset_px]))
    np.testing.assert_array_equal(data.tiles.lon, np.concatenate([alpha.tile_lon, beta.tile_lon]))
    assert (len(data.aerial), len(data.ground)) == (10, 14)
    assert_row(data.aerial[5], 0, "aerial", 5)
    assert_row(data.aerial[6], 1, "aerial", 0)
    assert_row(data.ground[np.int64(13)], 1, "ground", 4)
    for row in (-1, 14):
        with pytest.raises(IndexError):
            data.ground[row]


def test_fingerprint_follows_tables_and_preparation(tmp_path):
    def fingerprint(folder, **change):
        return cross_view_builder.load([build(tmp_path / folder, **change)], "patches").fingerprint

    first = fingerprint("a")
    assert fingerprint("a") == first
    assert fingerprint("b") == first
    assert fingerprint("c", seed=1) != first
    assert fingerprint("d", name="other") != first


def test_four_threads_read_what_one_reads(tmp_path):
    data = cross_view_builder.load([build(tmp_path, panoramas=200)], "patches")
    alone = [data.ground[row] for row in range(200)]
    order = [np.random.default_rng(thread).permutation(200) for thread in range(4)]

    def read(rows):
        return {int(row): data.ground[row] for row in rows}

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for seen in pool.map(read, order):
            assert [seen[row] for row in range(200)] == alone


def test_prepared_data_is_not_prepared_again(tmp_path):
    build(tmp_path).prepare()
    again = build(tmp_path, broken_row=0)
    again.prepare()
    assert len(again.images("ground")) == 9


def flip(path, share=0.5):
    data = bytearray(path.read_bytes())
    data[int(len(data) * share)] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "tables.npz").unlink(), "tables.npz is missing"),
        (lambda folder: flip(folder / "tables.npz"), "tables.npz does not hold what was written"),
        (lambda folder: (folder / "tables.npz").write_bytes(b""), "tables.npz has 0 bytes, not the"),
        (lambda folder: next(folder.glob("*ground*")).unlink(), "array_record-00000-of-00001 is missing"),
        (lambda folder: flip(next(folder.glob("*ground*"))), "array_record-00000-of-00001 does not hold"),
        # Padding, which the records' own checksums leave out.
        (lambda folder: flip(next(folder.glob("*aerial*")), 0.2), "array_record-00000-of-00001 does not hold"),
        (
            lambda folder: shutil.copy(next(folder.glob("*ground*")), next(folder.glob("*aerial*"))),
            "aerial.array_record-00000-of-00001 does not hold",
        ),
        (lambda folder: (folder / "files.json").write_text("[]"), "files.json is damaged"),
        (lambda folder: (folder / "files.json").write_text("{"), "files.json is damaged"),
        (lambda folder: (folder / "dataset_info.json").unlink(), "its aerial images cannot be opened"),
        (lambda folder: (folder / "dataset_info.json").write_text("{}"), "dataset_info.json cannot be read"),
        (lambda folder: (folder / "dataset_info.json").write_text("{"), "dataset_info.json cannot be read"),
        (
            lambda folder: (folder / "dataset_info.json").write_text(
                (folder / "dataset_info.json").read_text().replace('"6"', '"5"')
            ),
            "it holds 5 aerial images, and its tables name 6",
        ),
    ],
)
def test_a_prepared_folder_that_was_changed_is_named(tmp_path, change, message):
    build(tmp_path).prepare()
    folder = Path(build(tmp_path).data_path)
    change(folder)
    with pytest.raises(UserError) as caught:
        cross_view_builder.load([build(tmp_path)], "patches")
    assert f"{folder} was changed or copied in part since it was prepared: " in str(caught.value)
    assert message in str(caught.value)
    assert "Delete the folder" in str(caught.value)


def test_large_files_are_compared_when_asked_and_checked_by_the_reader(tmp_path, monkeypatch):
    monkeypatch.setattr(prepared_files, "_SMALL", 0)
    build(tmp_path).prepare()
    folder = Path(build(tmp_path).data_path)
    flip(next(folder.glob("*aerial*")), 0.01)
    data = cross_view_builder.load([build(tmp_path)], "patches")
    with pytest.raises(UserError, match=r"image \d cannot be read .*hash mismatch"):
        [data.aerial[row] for row in range(6)]
    with pytest.raises(UserError, match="does not hold what was written"):
        cross_view_builder.load([build(tmp_path)], "patches", verify=True)


def test_folders_prepared_before_records_were_kept(tmp_path):
    build(tmp_path).prepare()
    folder = Path(build(tmp_path).data_path)
    (folder / "files.json").unlink()
    assert len(cross_view_builder.load([build(tmp_path)], "patches").ground) == 9
    (folder / "tables.npz").write_bytes((folder / "tables.npz").read_bytes()[:-20])
    with pytest.raises(UserError, match=r"tables\.npz is damaged .* Prepare the data again"):
        cross_view_builder.load([build(tmp_path)], "patches")
    (folder / "tables.npz").unlink()
    with pytest.raises(UserError, match=r"tables\.npz is missing"):
        cross_view_builder.load([build(tmp_path)], "patches")


def test_a_panorama_of_two_cities_is_refused(tmp_path):
    builders = [build(tmp_path, city="Alpha"), build(tmp_path, city="Beta")]
    with pytest.raises(UserError, match=r"9 panoramas are in Beta and in Alpha as well, the first pano,0,0,\.jpg"):
        cross_view_builder.load(builders, "patches")


def test_a_failed_preparation_leaves_nothing_that_reads_as_complete(tmp_path):
    with pytest.raises(image_codec.ImageError, match=r"broken\.jpg: the file is empty"):
        build(tmp_path, broken_row=7).prepare()
    assert not build(tmp_path).data_path.exists()
    builder = build(tmp_path)
    builder.prepare()
    assert len(builder.images("ground")) == 9


def test_a_killed_preparation_leaves_nothing_that_reads_as_complete(tmp_path):
    """The process dies without any clean-up, in the middle of the second split."""
    script = textwrap.dedent(f"""
        import importlib.util, os, sys
        spec = importlib.util.spec_from_file_location("patches", {__file__!r})
        module = importlib.util.module_from_spec(spec)
        sys.modules["patches"] = module
        spec.loader.exec_module(module)

        class Dying(module.Patches, skip_registration=True):
            name = "patches"

            def pictures(self, view, table):
                for row, make in enumerate(super().pictures(view, table)):
                    if view == "ground" and row == 5:
                        os._exit(9)
                    yield make

        module.build({str(tmp_path)!r}, Dying).prepare()
    """)
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert result.returncode == 9, result.stderr
    builder = build(tmp_path)
    assert not builder.data_path.exists()
    assert list(builder.data_path.parent.glob("*incomplete*"))
    builder.prepare()
    assert [len(builder.images(view)) for view in ("aerial", "ground")] == [6, 9]


def test_two_processes_that_prepare_the_same_city_both_succeed(tmp_path):
    class Slow(Patches, skip_registration=True):
        name = "patches"

        def pictures(self, view, table):
            if view == "ground":
                build(tmp_path).prepare()  # the other one is faster
            return super().pictures(view, table)

    slow = build(tmp_path, Slow)
    slow.prepare()
    for builder in (slow, build(tmp_path)):
        assert_row(builder.images("ground")[8], 0, "ground", 8)
    assert not list(slow.data_path.parent.glob("*incomplete*"))


def test_too_few_pictures_are_an_error(tmp_path):
    class Short(Patches, skip_registration=True):
        name = "patches"

        def pictures(self, view, table):
            return list(super().pictures(view, table))[:-1]

    with pytest.raises(RuntimeError, match="5 aerial pictures for 6 rows"):
        build(tmp_path, Short).prepare()


def test_preparing_and_reading_does_not_import_tensorflow(tmp_path):
    build(tmp_path).prepare()
    assert "tensorflow" not in sys.modules
