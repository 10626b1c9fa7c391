"""A whole task in one file, as small as a task can be: a line through noisy points."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32

from vigor_jax.config import Config, Require
from vigor_jax.encoding.stopping import never
from vigor_jax.input.sampling import EpochPlan, host_rows
from vigor_jax.losses.batch_mean import batch_mean
from vigor_jax.models.variables import Variables
from vigor_jax.tasks.entry import TaskEntry
from vigor_jax.tasks.task import Batch, Carry, Evaluated, LossOutput, Task

if TYPE_CHECKING:
    from vigor_jax.report.page import Content
    from vigor_jax.workdir.results import Results

SLOPE, INTERCEPT = 2.0, -1.0
_VALIDATION = 20  # points, beside those that train


@dataclasses.dataclass(frozen=True, kw_only=True)
class PointsConfig:
    """The points about the line."""

    count: int = 48  # that train
    noise: float = 0.1  # std of their distance from the line


@dataclasses.dataclass(frozen=True, kw_only=True)
class LineConfig(Config):
    """Of `line`."""

    points: PointsConfig = PointsConfig()

    def check(self, require: Require) -> None:
        """Refuses noise that cannot be drawn."""
        require(self.points.noise >= 0, "points.noise", "a standard deviation, or 0 for none")


def load(config: LineConfig, *, verify: bool = False) -> Float32[np.ndarray, "points 2"]:
    """Draws the points: (x, y) of those that train, then of those that do not."""
    random = np.random.default_rng(config.seed)
    x = random.uniform(-1, 1, config.points.count + _VALIDATION)
    y = SLOPE * x + INTERCEPT + config.points.noise * random.standard_normal(len(x))
    return np.stack([x, y], axis=1).astype(np.float32)


class Line(Task):
    """A slope and an intercept, trained to the least mean square."""

    selection_metric = "validation/r_squared"

    def __init__(self, config: LineConfig):
        """Draws the points and plans the batches."""
        self._config, self._points = config, load(config)
        self._plan = EpochPlan(config.points.count, seed=config.seed, batch_size=config.batch.size)
        self.steps_per_epoch = self._plan.steps_per_epoch
        self.fingerprint = {"points": dataclasses.asdict(config.points), "batch": dataclasses.asdict(config.batch)}

    def init(self, key: jax.Array) -> Variables:
        """A random slope through the origin."""
        return {"params": {"slope": jax.random.normal(key), "intercept": jnp.zeros(())}}

    def batches(self, first_step: int) -> Iterator[Batch]:
        """Points in an order of each epoch's own."""
        mine, step = host_rows(self._config.batch.size, jax.process_index(), jax.process_count()), first_step
        while True:
            yield {"point": self._points[self._plan(step)][mine]}
            step += 1

    def loss(
        self, variables: Variables, batch: dict[str, jax.Array], key: jax.Array, *, carry: Carry, axis_name: str
    ) -> tuple[jax.Array, LossOutput]:
        """Mean square of the distances in y."""
        return batch_mean(_distances(variables, batch["point"]) ** 2, axis_name=axis_name), LossOutput({}, {})

    def evaluate(
        self, variables: Variables, mesh: jax.sharding.Mesh, should_stop: Callable[[], bool] = never
    ) -> Evaluated:
        """The share of the variance that the line explains."""
        points = self._points[self._config.points.count :]
        left = np.mean(np.asarray(_distances(variables, points)) ** 2)
        return Evaluated({"validation/r_squared": float(1 - left / points[:, 1].var())})

    def table(self, metrics: dict[str, float]) -> dict[str, dict[str, str]]:
        """The only row."""
        return {"validation": {"R2": f"{metrics['validation/r_squared']:.3f}"}}

    def report(self, workdir: Path) -> Path:
        """Writes the page, with the points."""
        from vigor_jax import report

        return report.write(workdir, functools.partial(content, data=self._points))


def content(results: "Results", data: np.ndarray) -> "Content":
    """Makes the section of the points."""
    from vigor_jax.report.page import Content, Section, paragraph

    return Content(sections=[Section("points", "Points", paragraph(f"{len(data)} points about a line."))])


def _distances(variables: Variables, points: jax.Array | np.ndarray) -> jax.Array:
    params = variables["params"]
    return points[:, 1] - params["slope"] * points[:, 0] - params["intercept"]


ENTRY = TaskEntry(LineConfig, lambda config, resolved: Line(config), load, content)
