"""A rendered city: a name, a seed, a place on earth and the style that follows from them."""

import dataclasses
import hashlib

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

from vigor_jax.datasets.rendered_city.style import Style, draw_style

TRAIN_CITIES: tuple[str, ...] = (
    "Ashford",
    "Brindlemark",
    "Corvane",
    "Dunmere",
    "Garrowby",
    "Holmreach",
    "Ivermoor",
    "Jasperfold",
    "Kestrelby",
    "Larkwater",
    "Mosswick",
    "Norrland",
)
TEST_CITIES: tuple[str, ...] = ("Eastholm", "Fennwick")

ZOOM = 20
TILE_PX = 640  # a tile's side at zoom 20
GRID_STEP_PX = 320  # between neighbouring tiles: 50 % overlap
_EARTH_CIRCUMFERENCE_M = 40_075_016.686
_WORLD_PX = 256 * 2**ZOOM


@dataclasses.dataclass(frozen=True)
class City:
    """An endless deterministic city.

    Positions in the city frame are metres (u, v): east and north of the origin, turned by `orientation` so that all
    streets run along an axis.
    """

    name: str
    seed: int
    origin: tuple[float, float]  # latitude, longitude in degrees
    orientation: float  # radians, counter-clockwise from east to the u axis
    style: Style
    key: int  # what every hash of the world starts from
    cameras_digest: str = ""
    cameras: Float[np.ndarray, "cameras 2"] | None = dataclasses.field(default=None, compare=False, repr=False)

    @property
    def metres_per_px(self) -> float:
        """Ground size of a zoom-20 Web Mercator pixel, taken constant over the city."""
        return _EARTH_CIRCUMFERENCE_M / _WORLD_PX * float(np.cos(np.radians(self.origin[0])))

    def to_frame(
        self, lat: Float[np.ndarray, "n"], lon: Float[np.ndarray, "n"]
    ) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
        """Degrees to (u, v) in metres, float64."""
        column, row = world_px(lat, lon)
        column0, row0 = world_px(*map(np.float64, self.origin))
        east, north = (column - column0) * self.metres_per_px, (row0 - row) * self.metres_per_px
        cos, sin = np.cos(self.orientation), np.sin(self.orientation)
        return east * cos + north * sin, north * cos - east * sin

    def from_px(
        self, column: Float[np.ndarray, "n"], row: Float[np.ndarray, "n"]
    ) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
        """Zoom-20 pixels east and south of the origin to (lat, lon) in degrees."""
        column0, row0 = world_px(*map(np.float64, self.origin))
        lon = (column0 + column) / _WORLD_PX * 360 - 180
        lat = np.degrees(np.arctan(np.sinh(np.pi * (1 - 2 * (row0 + row) / _WORLD_PX))))
        return lat, lon


def world_px(lat: np.ndarray | float, lon: np.ndarray | float) -> tuple[np.ndarray | float, np.ndarray | float]:
    """Web Mercator zoom-20 pixel coordinates (column, row) of positions in degrees, float64."""
    column = (np.asarray(lon, np.float64) + 180) / 360 * _WORLD_PX
    row = (1 - np.arcsinh(np.tan(np.radians(np.asarray(lat, np.float64)))) / np.pi) / 2 * _WORLD_PX
    return column, row


def make_city(
    name: str,
    seed: int,
    origin: tuple[float, float] | None = None,
    cameras: np.ndarray | None = None,
) -> City:
    """Makes the city that `name` and `seed` stand for.

    Args:
      name: any string; with `seed` it decides everything but the place.
      seed: any integer.
      origin: (lat, lon) in degrees; None for a place of the city's own between latitudes 35 and 50.
      cameras: [K, 2] (lat, lon) at which the world must be open street, and between neighbours of which it is.

    Raises:
      ValueError: cameras of another shape or not finite.
    """
    digest = hashlib.sha256(f"rendered city {name} {seed}".encode()).digest()
    rng = np.random.default_rng(np.frombuffer(digest, np.uint32))
    own = (float(rng.uniform(35, 50)), float(rng.uniform(-120, 120)))
    origin = own if origin is None else (float(origin[0]), float(origin[1]))
    cameras_digest = ""
    if cameras is not None:
        cameras = np.ascontiguousarray(cameras, np.float64)
        if cameras.ndim != 2 or cameras.shape[1] != 2 or not np.isfinite(cameras).all():
            raise ValueError(f"cameras must be finite (lat, lon) rows [K, 2], found shape {cameras.shape}")
        cameras_digest = hashlib.sha256(cameras.tobytes()).hexdigest()
    central_half = GRID_STEP_PX * _EARTH_CIRCUMFERENCE_M / _WORLD_PX * float(np.cos(np.radians(origin[0])))
    city = City(
        name=name,
        seed=seed,
        origin=origin,
        orientation=float(rng.uniform(-np.pi / 4, np.pi / 4)),
        style=draw_style(rng, central_half),
        key=int(rng.integers(2**32)),
        cameras_digest=cameras_digest,
        cameras=cameras,
    )
    if cameras is not None and len(cameras) > 1:
        turn = _street_direction(np.stack(city.to_frame(cameras[:, 0], cameras[:, 1]), axis=-1))
        city = dataclasses.replace(city, orientation=city.orientation + turn)
    return city


def _street_direction(points: Float[np.ndarray, "cameras 2"]) -> float:
    """The angle in [-pi/4, pi/4] of the two perpendicular directions in which neighbouring cameras mostly follow."""
    step = points[cKDTree(points).query(points, k=2)[1][:, 1]] - points
    return float(np.angle(np.exp(4j * np.arctan2(step[:, 1], step[:, 0])).sum()) / 4)
