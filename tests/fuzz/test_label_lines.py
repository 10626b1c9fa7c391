"""Any text as a label line is a LabelError that names the line, or a reading that writes back as the line."""

import math
from pathlib import PurePosixPath, PureWindowsPath

from hypothesis import example, given
from hypothesis import strategies as st

from vigor_jax.datasets.vigor import labels
from vigor_jax.datasets.vigor.label_line import LabelError, LabelLine, parse, parse_tile

WHERE = "labels.txt, line 7"

degrees = st.decimals(-85, 85, places=6).map(str)
pixels = st.floats(-1e6, 1e6).map(repr) | st.integers(-400, 400).map(str)
identities = st.text(st.characters(codec="ascii", categories=("L", "N"), include_characters="-_,."), min_size=1).filter(
    lambda text: not text.startswith(".")
)
tiles = st.builds("satellite_{}_{}.png".format, degrees, degrees)
lines = st.builds(
    lambda identity, lat, lon, cells: " ".join([f"{identity},{lat},{lon},.jpg", *(x for cell in cells for x in cell)]),
    identities,
    degrees,
    degrees,
    st.lists(st.tuples(tiles, pixels, pixels), min_size=4, max_size=4),
)


@st.composite
def damaged(draw):
    """A line with a few characters replaced, removed or put in."""
    line = draw(lines)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(line)))
        line = line[:at] + draw(st.text(max_size=3)) + line[at + draw(st.integers(0, 3)) :]
    return line


def read(line: str) -> LabelLine | None:
    """What parsing gives; any other error than a LabelError that names the line escapes."""
    try:
        return parse(line, WHERE)
    except LabelError as error:
        if not str(error).startswith(f"{WHERE}: "):
            raise AssertionError(f"the line is not named: {error}") from error
        return None


@given(lines)
def test_a_valid_line_is_read_as_written(line):
    found = read(line)
    assert found is not None
    columns = line.split(" ")
    assert [found.panorama, *found.tiles] == [columns[0], *columns[1::3]]
    assert [x for pair in found.offset_px for x in pair] == [float(columns[k]) for k in range(1, 13) if k % 3 != 1]
    identity, lat, lon, _ = columns[0].rsplit(",", 3)
    assert (found.panorama_id, found.position) == (identity, (float(lat), float(lon)))


@given(st.text() | damaged())
@example("\ufeff" + "a,1,2,.jpg" + " satellite_1_2.png 0 0" * 4)
@example("a,1,2,.jpg" + " satellite_1_2.png 1_0 0" * 4)
@example("../a,1,2,.jpg" + " satellite_1_2.png 0 0" * 4)
@example("a\\b,1,2,.jpg" + " satellite_1_2.png 0 0" * 4)
@example("a,\u0661,2,.jpg" + " satellite_1_2.png 0 0" * 4)
@example("a,1,2,.jpg" + " satellite_1_2.png nan 0" * 4)
@example("a" * 300 + ",1,2,.jpg" + " satellite_1_2.png 0 0" * 4)
def test_any_text_is_refused_or_makes_sense(line):
    found = read(line)
    if found is None:
        return
    assert len(found.tiles) == len(found.offset_px) == 4
    assert all(math.isfinite(x) for pair in found.offset_px for x in pair)
    lat, lon = found.position
    assert abs(lat) <= 85
    assert abs(lon) <= 180
    for kind in (PurePosixPath, PureWindowsPath):
        assert kind(found.panorama).name == found.panorama  # one entry of its folder on any system
    assert found.panorama.isprintable()
    assert found.panorama not in (".", "..")
    assert len(found.panorama.encode()) <= 255


@given(st.text() | tiles | tiles.flatmap(lambda name: st.text(max_size=2).map(lambda end: name + end)))
def test_any_text_as_a_tile(line):
    try:
        name, (lat, lon) = parse_tile(line, WHERE)
    except LabelError as error:
        if not str(error).startswith(f"{WHERE}: "):
            raise AssertionError(f"the line is not named: {error}") from error
        return
    assert name == line.strip()
    assert PurePosixPath(name).name == PureWindowsPath(name).name == name
    assert name.removeprefix("satellite_").removesuffix(".png").split("_") == [
        *name.removeprefix("satellite_").removesuffix(".png").split("_")[:2]
    ]
    assert abs(lat) <= 85
    assert abs(lon) <= 180


@given(st.binary(max_size=200) | st.lists(lines, max_size=3).map(lambda some: "\n".join(some).encode()))
def test_any_bytes_as_label_files(write_city, content):
    root = write_city(content)
    for attempt in (lambda: labels.read_city(root, "City"), lambda: labels.read_tile_list(root, "City")):
        try:
            attempt()
        except LabelError as error:
            if str(root) not in str(error):
                raise AssertionError(f"the file is not named: {error}") from error
