"""The seam to the S2 library: positions to cells and cells to positions.

The library is `s2geometry`, S2's own project on PyPI: the C++ code with its bindings, released from one repository
(0.14.0 in April 2026) as wheels for every CPython from 3.10 on, for Linux on x86-64 and for macOS. What else there is:
`s2sphere` (pure Python, last released in 2017), `s2cell` (pure Python, 2024, made to be read rather than to be fast),
`s2-py` (the same bindings in others' packaging), `spherely` (shapes, no cell ids) and H3, which is well kept, but whose
hexagons do not nest: a photo may lie outside the parent of its cell. New bindings with other names are being written in
S2's repository, hence the bound on the version.
"""

import importlib
from types import ModuleType

import numpy as np
from jaxtyping import Float, Float64, UInt64

from vigor_jax.geocells.errors import GeocellError


def leaf_ids(lat: Float[np.ndarray, "photos"], lon: Float[np.ndarray, "photos"]) -> UInt64[np.ndarray, "photos"]:
    """Id of the S2 cell of the deepest level (30, about a centimetre) at each position; seconds a million.

    The antimeridian is one line, whether written as -180 or 180, and each pole one point at any longitude.

    Args:
      lat: degrees in [-90, 90].
      lon: degrees in [-180, 180].

    Raises:
      GeocellError: a position that is none, by its row; s2geometry is not installed.
    """
    lat, lon = np.asarray(lat, np.float64), np.asarray(lon, np.float64)
    # The library gives a cell to any pair of numbers, and to NaN.
    wrong = np.flatnonzero(~((np.abs(lat) <= 90) & (np.abs(lon) <= 180)))
    if len(wrong):
        first = wrong[0]
        raise GeocellError(
            f"{len(wrong):,} of {len(lat):,} photos lie nowhere; the first is row {first}: latitude {lat[first]}, "
            f"longitude {lon[first]}. Expected degrees, latitudes in [-90, 90] and longitudes in [-180, 180]: mend "
            "these rows or leave them out."
        )
    # Rounding would put the two names of one place on different sides of an edge.
    lon = np.where(lon == 180, -180.0, np.where(np.abs(lat) == 90, 0.0, lon))
    s2 = _library()
    cell, position = s2.S2CellId, s2.S2LatLng.FromDegrees
    pairs = zip(lat.tolist(), lon.tolist(), strict=True)
    return np.fromiter((cell(position(*pair)).id() for pair in pairs), np.uint64, len(lat))


def centres(ids: UInt64[np.ndarray, "cells"]) -> tuple[Float64[np.ndarray, "cells"], Float64[np.ndarray, "cells"]]:
    """(lat, lon) of the cells' centres in degrees.

    Raises:
      GeocellError: s2geometry is not installed.
    """
    s2 = _library()
    positions = [s2.S2CellId(cell).ToLatLng() for cell in ids.tolist()]
    lat = np.array([position.lat().degrees() for position in positions], np.float64)
    return lat, np.array([position.lng().degrees() for position in positions], np.float64)


def _library() -> ModuleType:
    try:
        return importlib.import_module("s2geometry")
    except ImportError as error:
        raise GeocellError(
            "dividing the globe into S2 cells needs s2geometry, which is not installed. Install it: "
            "pip install -e .[geocells]"
        ) from error
