"""Eight host devices for every test, where the reference material lies, and a VIGOR of a few small images."""

import os

# Before JAX is imported: sharded code is tested on 1 to 8 devices of one CPU.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import dataclasses
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import jax
import numpy as np
import pytest

from vigor_jax import compilation_cache, console, geometry
from vigor_jax.commands import command_line
from vigor_jax.config import DataConfig
from vigor_jax.datasets import image_codec

# The same few examples in every run of the suite; `pytest --hypothesis-profile=long tests/fuzz ...` looks for new ones.
hypothesis.settings.register_profile("suite", max_examples=50, deadline=None, derandomize=True)
hypothesis.settings.register_profile("long", max_examples=1000, deadline=None)
hypothesis.settings.load_profile("suite")

# Fixtures of several folders; relative to this folder so that pytest finds them from anywhere.
pytest_plugins = [
    "tests.fixtures.batch_keys",
    "tests.fixtures.finished_runs",
    "tests.fixtures.one_convolution",
    "tests.fixtures.town",
]

_SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def vigor_reference() -> dict[str, np.ndarray]:
    """Inputs and outputs of the VIGOR authors' own code."""
    path = _SHARED / "reference" / "vigor_reference.npz"
    if not path.exists():
        pytest.skip(f"the authors' reference values are not beside the repository ({path.name})")
    with np.load(path) as archive:
        return dict(archive)


@pytest.fixture(scope="session")
def vigor_label_archive() -> Path:
    """The published corrected labels of VIGOR."""
    path = _SHARED / "data" / "vigor_labels.tar.xz"
    if not path.exists():
        pytest.skip(f"VIGOR's label archive is not beside the repository ({path.name})")
    return path


@pytest.fixture(autouse=True, scope="session")
def keep_compiled_programs(tmp_path_factory) -> None:
    """Tests compile the same programs again and again; compiling them is what takes time."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # of all workers
    jax.config.update("jax_compilation_cache_dir", str(shared / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Compiles in little time what runs once or twice; what renders or trains runs long enough to be compiled well.

    Programs in processes that tests start are compiled as users' are.
    """
    jax.config.update(
        "jax_disable_most_optimizations", not ("datasets" in item.path.parts or item.get_closest_marker("trains"))
    )


@pytest.fixture
def run_command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`(name, *arguments) -> exit code` of `vigor-jax name ...` in this process, which keeps its log and its cache."""
    monkeypatch.setattr(console, "set_up", lambda: None)
    monkeypatch.setattr(compilation_cache, "keep", lambda: None)
    return lambda name, *arguments: command_line.main([name, *map(str, arguments)])


@pytest.fixture
def two_hosts() -> Iterator[Callable[[str, int], list[str]]]:
    """`(program, devices of each) -> outputs`: runs a program as two hosts of one machine, until both have succeeded.

    The program finds the coordinator's address in `sys.argv[1]` and its own number in `sys.argv[2]`.
    """
    processes = []

    def run(program: str, devices: int) -> list[str]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        environment = os.environ | {
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        for rank in range(2):
            command = [sys.executable, "-c", program, address, str(rank)]
            processes.append(
                subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            )
        outputs = [process.communicate(timeout=120)[0] for process in processes]
        for process, output in zip(processes, outputs, strict=True):
            assert process.returncode == 0, output
        return outputs

    yield run
    for process in processes:
        process.kill()
        process.communicate()


# Beginnings of what metrics.jsonl says of the machine rather than of the run.
_MEASURED = ("train/examples_per_s", "train/step_ms", "train/data_wait", "train/host", "train/device", "train/slowest")


@pytest.fixture(scope="session")
def without_measured() -> Callable[[dict[str, float]], dict[str, float]]:
    """`(row of metrics.jsonl) -> row` as every run of the same config has it."""
    return lambda row: {name: value for name, value in row.items() if not name.startswith(_MEASURED)}


@pytest.fixture(scope="session")
def write_mini_vigor() -> Callable[..., "MiniVigor"]:
    """`(root, **options) -> MiniVigor`: writes a VIGOR with real geometry and names and fabricated images."""
    return _write_mini_vigor


_CITIES = {"Chicago": (41.88, -87.68), "Seattle": (47.60, -122.31), "NewYork": (40.72, -73.98)}


@dataclasses.dataclass
class MiniVigor:
    """What was written where, for the tests to compare with."""

    root: Path
    # city -> tile names, panorama names in label order, [N, 4] references, [N, 4, 2] true offsets, train count
    tiles: dict[str, list[str]]
    panoramas: dict[str, list[str]]
    references: dict[str, np.ndarray]
    offsets: dict[str, np.ndarray]
    trains: dict[str, int]
    pixels: dict[str, np.ndarray]  # name -> the colour its image is filled with

    def config(self, data_dir: Path, **changes) -> DataConfig:
        settings = {
            "name": "vigor",
            "root": str(self.root),
            "data_dir": str(data_dir),
            "train_cities": ("Seattle",),
            "test_cities": ("Chicago",),
            "protocols": ("same_area", "cross_area"),
            "aerial_size": (32, 32),
            "ground_size": (32, 64),
        }
        return DataConfig(**(settings | changes))


def _city(
    name: str, lat: float, lon: float, rng: np.random.Generator, rows: int, columns: int, count: int
) -> tuple[list[str], np.ndarray, list[str], np.ndarray]:
    centre = np.array(geometry.mercator_pixel(lat, lon))
    grid = np.stack(np.mgrid[0:rows, 0:columns], -1).reshape(-1, 2) * 320.0  # pixels apart, as in VIGOR
    tile_at = np.array([geometry.mercator_position(*(centre + at)) for at in grid])
    tiles = [f"satellite_{a!r}_{b!r}.png" for a, b in tile_at.tolist()]
    panoramas, references = [], []
    for k in range(count):
        row, column = rng.integers(0, rows - 1), rng.integers(0, columns - 1)
        # Within the quadrant that the four tiles around it share.
        at = np.array([row, column]) * 320 + rng.uniform(20, 300, 2)
        pano_lat, pano_lon = geometry.mercator_position(*(centre + at))
        four = [(row + a) * columns + column + b for a in (0, 1) for b in (0, 1)]
        references.append(sorted(four, key=lambda t, at=at: np.abs(grid[t] - at).max()))
        panoramas.append(f"{name[:2]}-{k}_x-Y,{pano_lat:.6f},{pano_lon:.6f},.jpg")
    return tiles, tile_at, panoramas, np.array(references)


def _write_mini_vigor(
    root: Path,
    *,
    layout: str = "vigor",
    label_set: str = "corrected",
    cities: tuple[str, ...] = ("Chicago", "Seattle"),
    rows: int = 3,
    columns: int = 4,
    panoramas: int = 7,
    trains: int = 4,
    noise: int = 0,
) -> MiniVigor:
    """Writes the cities under root.

    Args:
      root: of the data set.
      layout: "vigor" (<City>/panorama) or "by_view" (ground/<City>).
      label_set: "corrected" or "original".
      cities: of _CITIES.
      rows: of tiles, in each city.
      columns: likewise.
      panoramas: in each city.
      trains: how many of them are in the training half.
      noise: images are of one colour plus this times a standard normal a pixel and channel.
    """
    mini = MiniVigor(root, {}, {}, {}, {}, {}, {})
    suffix = "__corrected.txt" if label_set == "corrected" else ".txt"
    splits = "splits__corrected" if label_set == "corrected" else "splits"
    for index, city in enumerate(cities):
        rng = np.random.default_rng(index)
        tiles, tile_at, names, references = _city(city, *_CITIES[city], rng, rows, columns, panoramas)
        positions = np.array([name.rsplit(",", 3)[1:3] for name in names], float)
        offsets = geometry.tile_offset(
            positions[:, :1], positions[:, 1:], tile_at[references][..., 0], tile_at[references][..., 1]
        )
        lines = []
        for name, four, delta in zip(names, references, offsets, strict=True):
            published = np.round(delta) + (0 if label_set == "corrected" else 30)
            cells = [f"{tiles[t]} {d[0]} {d[1]}" for t, d in zip(four, published, strict=True)]
            lines.append(" ".join([name, *cells]))
        folder = root / splits / city
        folder.mkdir(parents=True)
        (folder / "satellite_list.txt").write_text("\n".join(tiles) + "\n")
        (folder / f"same_area_balanced_train{suffix}").write_text("\n".join(lines[:trains]) + "\n")
        (folder / f"same_area_balanced_test{suffix}").write_text("\n".join(lines[trains:]))  # no final newline
        if label_set == "original":
            (folder / "pano_label_balanced.txt").write_text("\n".join(lines))
        aerial = root / (f"{city}/satellite" if layout == "vigor" else f"satellite/{city}")
        ground = root / (f"{city}/panorama" if layout == "vigor" else f"ground/{city}")
        for place, files, shape, encode in (
            (aerial, tiles, (64, 64, 3), image_codec.encode_png),
            (ground, names, (64, 128, 3), image_codec.encode_jpeg),
        ):
            place.mkdir(parents=True)
            for name in files:
                mini.pixels[name] = rng.integers(0, 256, 3, dtype=np.uint8)
                image = mini.pixels[name] + noise * rng.standard_normal(shape)
                (place / name).write_bytes(encode(image.clip(0, 255).astype(np.uint8)))
        mini.tiles[city], mini.panoramas[city] = tiles, names
        mini.references[city], mini.offsets[city], mini.trains[city] = references, offsets, trains
    return mini
