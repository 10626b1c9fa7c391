"""What the input benchmark lets take turns: our pipeline, OpenCV on the original files, and the codec alone."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import simplejpeg
from original_loader import Read

from vigor_jax.datasets.cross_view import CrossViewData
from vigor_jax.input import semi_positives
from vigor_jax.input.batches import Hybrid, train_batches
from vigor_jax.input.device_feed import DeviceFeed
from vigor_jax.input.sampling import BatchPlan


class Programs:
    """A prepared city, and the files it was made from."""

    def __init__(self, data: CrossViewData, root: Path, batch: int, hybrid: bool):
        panoramas = data.panoramas
        self.data, self.hybrid, self.batch = data, hybrid, batch
        self.rows = np.arange(len(panoramas))
        self.plan = BatchPlan(panoramas.references, panoramas.city, seed=0, batch_size=batch, one_city=False)
        self._mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))
        self._folders = {"aerial": root / data.cities[0] / "satellite", "ground": root / data.cities[0] / "panorama"}

    def host_batches(self, threads: int) -> Iterator[dict[str, np.ndarray]]:
        """Ours, on the host."""
        return train_batches(
            self.data,
            self.rows,
            self.plan,
            first_step=0,
            augment=False,
            seed=0,
            host_rows=slice(0, self.batch),
            threads=threads,
            for_mining=False,
            hybrid=Hybrid(first_step=0) if self.hybrid else None,
        )

    def ours(self, batches: int, threads: int) -> tuple[float, float]:
        """Seconds, and seconds of all cores together, of an example of some batches in the middle of a run."""
        with DeviceFeed(self.host_batches(threads), self._mesh) as feed:
            # Those that are read ahead: from here on a batch can be had no sooner than another one is done.
            for _ in range(4):
                next(feed)
            begin, busy = time.perf_counter(), time.process_time()
            for _ in range(batches):
                next(feed)
            return self._each(begin, batches), self._each(busy, batches, time.process_time)

    def originals(self, batches: int, read: Read) -> tuple[float, float]:
        """The same of the original files, read by a function of (path, height and width)."""
        begin, busy = time.perf_counter(), time.process_time()
        for step in range(batches):
            self.original_batch(step, read)
        return self._each(begin, batches), self._each(busy, batches, time.process_time)

    def original_batch(self, step: int, read: Read) -> dict[str, np.ndarray]:
        """The images of a batch as float32, from the original files."""
        images = {
            name: np.zeros((self.batch, *size, 3), np.float32)
            for name, size in (("aerial", (320, 320)), ("ground", (320, 640)), ("semi_positive", (320, 320)))
            if name != "semi_positive" or self.hybrid
        }
        for slot, (panorama, tiles) in enumerate(self._examples(step)):
            images["ground"][slot] = read(self._path("ground", panorama), (320, 640))
            for name, tile in tiles.items():
                images[name][slot] = read(self._path("aerial", tile), (320, 320))
        return images

    def codec(self, batches: int) -> tuple[float, float]:
        """The same of decoding alone."""
        encoded = []
        for step in range(batches):
            for panorama, tiles in self._examples(step):
                encoded.append((self.data.ground[panorama], (320, 640)))
                encoded += [(self.data.aerial[tile], (320, 320)) for tile in tiles.values()]
        places = {size: np.zeros((*size, 3), np.uint8) for size in ((320, 320), (320, 640))}
        begin, busy = time.perf_counter(), time.process_time()
        for data, size in encoded:
            simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True, buffer=places[size])
        return self._each(begin, batches), self._each(busy, batches, time.process_time)

    def _examples(self, step: int) -> Iterator[tuple[int, dict[str, int]]]:
        """(panorama, its tiles), of a batch of `train_batches`."""
        panoramas = self.data.panoramas
        for slot, panorama in enumerate(self.plan(step).tolist()):
            references, offset_px = panoramas.references[panorama].tolist(), panoramas.offset_px[panorama]
            tiles = {"aerial": references[0]}
            if self.hybrid:
                drawn = semi_positives.draw(offset_px, seed=0, step=step, slot=slot, drop_uncovering=False)
                tiles["semi_positive"] = references[drawn.column]
            yield panorama, tiles

    def _path(self, view: str, row: int) -> str:
        names = self.data.tiles.names if view == "aerial" else self.data.panoramas.names
        return str(self._folders[view] / names[row])

    def _each(self, begin: float, batches: int, clock: Callable[[], float] = time.perf_counter) -> float:
        return (clock() - begin) / (batches * self.batch)
