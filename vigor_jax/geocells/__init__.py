"""Where on earth, as a choice among cells: the globe divided by where the training photos lie.

After PlaNet (Weyand, Kostrikov, Philbin, ECCV 2016): a class is an S2 cell, small where there are many photos and
large where there are few. NumPy, no JAX; a network is whatever gives a probability to each cell.
"""

from vigor_jax.geocells.cells import Cells
from vigor_jax.geocells.errors import GeocellError
from vigor_jax.geocells.partition import partition
from vigor_jax.geocells.prediction import predicted_position

__all__ = ["Cells", "GeocellError", "partition", "predicted_position"]
