"""Cells of about equally many photos: an adaptive division of the globe."""

import numpy as np
from jaxtyping import Float

from vigor_jax.geocells import cell_id, s2_library
from vigor_jax.geocells.cells import Cells
from vigor_jax.geocells.errors import GeocellError


def partition(
    lat: Float[np.ndarray, "photos"],
    lon: Float[np.ndarray, "photos"],
    *,
    most: int,
    fewest: int,
    deepest: int = cell_id.DEEPEST,
) -> Cells:
    """Divides S2's six faces, and each cell again, into four while a cell holds more than `most` photos.

    Cells with fewer than `fewest` photos are dropped: they are no class, and their photos train nothing. Photos of an
    evaluation that lie there are errors that no answer avoids (`Cells.cell_of` gives them -1). The result does not
    depend on the order of the photos. Source: PlaNet (Weyand et al., ECCV 2016), section 3, with 10,000 and 50 and
    91 million photos: 26,263 cells.

    Args:
      lat: degrees in [-90, 90], of the training photos.
      lon: degrees in [-180, 180].
      most: photos that a cell may hold.
      fewest: photos that a class needs.
      deepest: level whose cells are not divided any more, 0 (a face) to 30 (a centimetre); level 10 is some 9 km
        wide. There a cell may hold more than `most`, as when all photos have one position. Dividing down to such a
        position costs its surroundings, most of which fall below `fewest`.

    Raises:
      GeocellError: a position that is none, by its row; no photos; no cell has `fewest`; the two limits contradict
        each other; s2geometry is not installed.
    """
    if not 0 <= deepest <= cell_id.DEEPEST:
        raise GeocellError(f"deepest={deepest}: S2's levels are 0 to {cell_id.DEEPEST}.")
    if not 1 <= fewest <= most:
        raise GeocellError(
            f"fewest={fewest:,} and most={most:,}: a kept cell holds at least `fewest`, which is 1 or more, and at "
            "most `most` photos."
        )
    if not len(lat):
        raise GeocellError("there are no photos to divide the globe by.")
    leaves = np.sort(s2_library.leaf_ids(lat, lon))
    ids, counts = [], []
    for level in range(deepest + 1):
        cell = cell_id.parents(leaves, level)
        start = np.flatnonzero(np.append(True, cell[1:] != cell[:-1]))
        count = np.diff(np.append(start, len(cell)))
        done = (count <= most) | (level == deepest)
        ids.append(cell[start[done]])
        counts.append(count[done])
        leaves = leaves[np.repeat(~done, count)]
        if not len(leaves):
            break
    ids, counts = np.concatenate(ids), np.concatenate(counts)
    kept = counts >= fewest
    if not kept.any():
        raise GeocellError(
            f"none of the {len(ids):,} cells holds fewest={fewest:,} photos: the fullest holds {counts.max():,} of "
            f"the {len(lat):,}. Lower `fewest`, or divide less: a higher `most` or a lower `deepest`."
        )
    order = np.flatnonzero(kept)[np.argsort(ids[kept])]
    centre_lat, centre_lon = s2_library.centres(ids[order])
    return Cells(
        ids=ids[order],
        lat=centre_lat,
        lon=centre_lon,
        photos=counts[order],
        dropped_photos=int(counts[~kept].sum()),
        most=most,
        fewest=fewest,
        deepest=deepest,
    )
