import io
import json
import tarfile

import numpy as np
import pytest

from vigor_jax import datasets
from vigor_jax.config import DataConfig, RenderedCityConfig
from vigor_jax.datasets import image_codec
from vigor_jax.datasets.vigor import labels, render_at_labels
from vigor_jax.errors import UserError


@pytest.fixture
def stub_renderer(monkeypatch):
    """Flat images whose colour is the position's last digits; counts what it was asked for."""
    asked = []

    def paint(lat, lon, shape):
        asked.extend(zip(lat, lon, strict=True))
        colours = np.stack([lat * 1e4 % 200, lon * 1e4 % 200, 0 * lat], -1)
        return np.broadcast_to(colours[:, None, None], (len(lat), *shape, 3)).astype(np.uint8)

    def tiles(city, lat, lon, size):
        return paint(lat, lon, (size, size))

    def panoramas(city, lat, lon, size):
        # The world must be open street exactly where the panoramas are.
        known = {tuple(camera) for camera in city.cameras}
        assert all((a, b) in known for a, b in zip(lat, lon, strict=True))
        return paint(lat, lon, size)

    monkeypatch.setattr(render_at_labels, "render_tiles", tiles)
    monkeypatch.setattr(render_at_labels, "render_panoramas", panoramas)
    return asked


def render(source, root, cities=("Seattle",), tiles=12, **options):
    settings = {"tile_size": 48, "panorama_height": 32} | options
    render_at_labels.render(source, root, cities=cities, tiles=tiles, **settings)


def test_what_is_rendered_reads_as_vigor(write_vigor, stub_renderer, tmp_path):
    mini = write_vigor()
    root = tmp_path / "rendered"
    render(mini.root, root, cities=("Seattle", "Chicago"))
    config = DataConfig(
        name="vigor",
        root=str(root),
        data_dir=str(tmp_path / "prepared"),
        train_cities=("Seattle",),
        test_cities=("Chicago",),
        protocols=("cross_area",),
        aerial_size=(32, 32),
        ground_size=(32, 64),
    )
    data = datasets.load(config, RenderedCityConfig())
    assert list(data.tiles.names) == mini.tiles["Seattle"] + mini.tiles["Chicago"]
    assert list(data.panoramas.names) == mini.panoramas["Seattle"] + mini.panoramas["Chicago"]
    np.testing.assert_allclose(data.panoramas.offset_px[:7], mini.offsets["Seattle"], atol=1e-6)
    for images, table in ((data.aerial, data.tiles), (data.ground, data.panoramas)):
        for row in range(len(table)):
            pixel = image_codec.decode(images[row], "x").reshape(-1, 3).mean(0)
            expected = [table.lat[row] * 1e4 % 200, table.lon[row] * 1e4 % 200, 0]
            np.testing.assert_allclose(pixel, np.floor(expected), atol=3)


def test_a_block_of_the_published_city(vigor_label_archive, tmp_path):
    with tarfile.open(vigor_label_archive) as archive:
        archive.extractall(tmp_path, filter="data")
    city = labels.read_city(tmp_path / "vigor_labels", "Seattle")
    tile_rows, panorama_rows = render_at_labels.choose_block(city, 200)
    assert len(tile_rows) == 200
    assert len(np.unique(tile_rows)) == 200
    # Compact: the block is about as large as 200 tiles half a tile apart can be.
    extent = [np.ptp(axis[tile_rows]) for axis in (city.tile_lat, city.tile_lon)]
    assert extent[0] < 25 * 0.000329
    assert extent[1] < 25 * 0.000487
    inside = [all(t in set(tile_rows.tolist()) for t in four) for four in city.references.tolist()]
    assert np.flatnonzero(inside).tolist() == panorama_rows.tolist()
    # A place with many panoramas: more than the city's share a tile.
    assert len(panorama_rows) > 200 * len(city.panorama_names) / len(city.tile_names)


def test_rendering_resumes_where_it_stopped(write_vigor, stub_renderer, tmp_path):
    mini = write_vigor()
    root = tmp_path / "rendered"
    render(mini.root, root)
    assert len(stub_renderer) == 12 + 7
    stub_renderer.clear()
    gone = root / "Seattle" / "satellite" / mini.tiles["Seattle"][3]
    before = gone.read_bytes()
    gone.unlink()
    cut = root / "Seattle" / "panorama" / mini.panoramas["Seattle"][5]
    whole = cut.read_bytes()
    cut.write_bytes(whole[:200])
    render(mini.root, root)
    assert len(stub_renderer) == 2
    assert gone.read_bytes() == before
    assert cut.read_bytes() == whole
    assert not list(root.rglob("*.part"))


def test_a_city_is_listed_only_when_it_is_complete(write_vigor, stub_renderer, tmp_path, monkeypatch):
    mini = write_vigor()
    root = tmp_path / "rendered"

    def power_cut(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(render_at_labels, "render_panoramas", power_cut)
    with pytest.raises(KeyboardInterrupt):
        render(mini.root, root)
    assert labels.find_cities(root) == []


def test_other_settings_need_another_folder(write_vigor, stub_renderer, tmp_path):
    mini = write_vigor()
    root = tmp_path / "rendered"
    render(mini.root, root)
    with pytest.raises(UserError, match=r"other settings \(seed: 0 there, 1 now\).*another --root"):
        render(mini.root, root, seed=1)
    with pytest.raises(UserError, match="tile_size: 48 there, 64 now"):
        render(mini.root, root, tile_size=64)


def test_true_images_are_never_written_over(write_vigor, stub_renderer):
    mini = write_vigor()
    before = {path: path.read_bytes() for path in mini.root.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"Seattle holds files that were not rendered here"):
        render(mini.root, mini.root)
    assert {path: path.read_bytes() for path in mini.root.rglob("*") if path.is_file()} == before


def test_archives_that_are_not_of_labels(tmp_path):
    evil = tmp_path / "evil.tar.xz"
    with tarfile.open(evil, "w:xz") as tar:
        tar.addfile(tarfile.TarInfo("../../outside.txt"), io.BytesIO())
    with pytest.raises(UserError, match=r"evil\.tar\.xz holds '\.\./\.\./outside\.txt'"):
        render(evil, tmp_path / "rendered")
    broken = tmp_path / "broken.tar.xz"
    broken.write_bytes(b"\xfd7zXZ\x00" + bytes(100))
    with pytest.raises(UserError, match=r"broken\.tar\.xz: not a sound archive"):
        render(broken, tmp_path / "rendered")
    assert not (tmp_path / "rendered").exists()


@pytest.mark.parametrize("content", ["{", "[]", "\0", "null"])
def test_a_damaged_note_of_an_earlier_rendering(write_vigor, stub_renderer, tmp_path, content):
    mini = write_vigor()
    folder = tmp_path / "rendered" / "Seattle"
    folder.mkdir(parents=True)
    (folder / "rendered.json").write_text(content)
    with pytest.raises(UserError, match=r"rendered\.json .*Choose another --root"):
        render(mini.root, tmp_path / "rendered")


def test_what_cannot_be_rendered_is_refused(write_vigor, tmp_path):
    mini = write_vigor()
    with pytest.raises(UserError, match=r"no tile list of Boston.*Chicago, Seattle"):
        render(mini.root, tmp_path / "rendered", cities=("Boston",))
    with pytest.raises(UserError, match="among 1 tiles: ask for more --tiles"):
        render(mini.root, tmp_path / "rendered", tiles=1)
    with pytest.raises(UserError, match="--tiles must be at least 1"):
        render(mini.root, tmp_path / "rendered", tiles=0)
    with pytest.raises(UserError, match=r"nothing: no splits/<City>"):
        render(tmp_path / "nothing", tmp_path / "rendered")
    assert not (tmp_path / "rendered").exists()


def test_the_command(run_command, write_vigor, stub_renderer, tmp_path, capsys):
    mini = write_vigor()
    root = tmp_path / "rendered"
    arguments = ["render", f"--labels={mini.root}", f"--root={root}", "--cities", "Seattle", "Chicago", "--tiles=12"]
    assert run_command(*arguments, "--tile_size=40", "--panorama_height=32") == 0
    assert json.loads((root / "Chicago" / "rendered.json").read_text())["tile_size"] == 40
    assert run_command("check", f"--root={root}", "--images=full") == 0
    printed = capsys.readouterr().out
    assert "12 of 40x40" in printed
    assert printed.count("the images are rendered, not VIGOR's") == 2
    assert run_command(*arguments, "--tile_size=41") == 2
    assert "error: " in capsys.readouterr().err
