"""How much of a city is tabulated at once, in metres."""

CORE = 1024.0  # images whose centre lies in a region's core are rendered from its tables
SIGHT = 400.0  # how far a panorama sees
HALF = 936.0  # half of what is tabulated: half the core, the sight and some cells of trees
LINES_U, LINES_V = 84, 32  # capacity, for the smallest spacings that a style can have
JITTER_U, JITTER_V = 0.16, 0.4  # share of its cell in which a line may lie
TREE_CELL = 8.0  # divides CORE, so that the cells are the same in all regions
TREE_CELLS = int(2 * HALF / TREE_CELL)
AERIAL, GROUND = 0, 1  # the two views: their cars and their sun differ
