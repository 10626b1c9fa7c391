"""Where the checkpoints of a run lie, and what each of them consists of.

WORKDIR/checkpoints/<step>/state       the arrays that decide the next step
WORKDIR/checkpoints/<step>/plan        what the batches depend on; missing where there is nothing
WORKDIR/checkpoints/<step>/record      how the state was made, and checksums of all (`seal.py`)
WORKDIR/checkpoints_interrupted/...    of a stop between two of them, at most one
WORKDIR/checkpoints_damaged/...        what was moved aside
"""

from pathlib import Path

FOLDER = "checkpoints"
STATE, PLAN, RECORD = "state", "plan", "record"


def interrupted(folder: Path) -> Path:
    """Where the checkpoint of a stop lies, beside the folder of the regular ones."""
    return folder.with_name(f"{folder.name}_interrupted")


def damaged(folder: Path) -> Path:
    """Where damaged checkpoints are moved to, beside the folder of the regular ones."""
    return folder.with_name(f"{folder.name}_damaged")


def steps(folder: Path) -> list[int]:
    """The steps of the checkpoints that are complete, ascending."""
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdecimal())
