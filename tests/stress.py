"""Many threads read one volume at once, give up at random, and see chunks rewritten meanwhile.

The test suite does this for a moment; ``python tests/stress.py 600`` does it for as many seconds.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from threading import Thread

import numpy as np

from napari_kemp import create_volume, open_volume, settings
from napari_kemp.codec import kempressed
from napari_kemp.precomputed.cache import shared_cache
from napari_kemp.precomputed.reader import AbandonedError, ReadOptions
from napari_kemp.sample import make_affinities

THREADS = 32
SIZE_XYZ, CHUNK_XYZ = (96, 80, 40), (32, 32, 20)
LIMIT_MB = (1, 4)  # less than the volume takes, so that pieces leave all the time


class Stress:
    """One volume, some of whose chunks are seekable, and threads that read it."""

    def __init__(self, folder: Path):
        values = make_affinities(SIZE_XYZ)
        created = create_volume(
            folder,
            size=SIZE_XYZ,
            resolution=(4, 4, 40),
            chunk_size=CHUNK_XYZ,
            encoding="kempressed",
        )
        self.url = created.url
        self.values = (values + np.float32(2)) - np.float32(2)
        self.objects = {}
        for i, cell in enumerate(created.scales[0].grid.cells()):
            start, stop = created.scales[0].grid.box(cell)
            box = tuple(slice(a, b) for a, b in zip(start[::-1], stop[::-1], strict=True))
            self.objects[cell] = kempressed.encode(values[:, *box].T, seekable=i % 3 > 0)
            created.scales[0].write_chunk(cell, self.objects[cell])
        self.scale = open_volume(self.url).scales[0]
        self.found: Counter[str] = Counter()
        self.failures: list[BaseException] = []
        self.stopped = False

    def act(self, rng: random.Random) -> str:
        """Do something at random, and return what came of it."""
        kind = rng.random()
        if kind < 0.05:
            cell = rng.choice(list(self.objects))
            self.scale.write_chunk(cell, self.objects[cell])
            return "rewritten"
        if kind < 0.06:
            settings.configure(cache_mb=rng.randint(*LIMIT_MB))
            return "resized"
        if kind < 0.08:
            self.scale = open_volume(self.url).scales[0]
            return "opened anew"
        key = self.region(rng)
        chance = rng.choice((0.0, 0.0, 0.05, 0.5))
        options = ReadOptions(abandoned=lambda: rng.random() < chance)
        try:
            read = self.scale.array.read(key, options)
        except AbandonedError:
            if chance == 0:
                raise  # somebody else gave up
            return "given up"
        np.testing.assert_array_equal(read, self.values[key])
        return "read"

    def region(self, rng: random.Random) -> tuple[int | slice, ...]:
        """Return a slice of the volume, or a box of it."""
        nx, ny, nz = SIZE_XYZ
        z = rng.randrange(nz)
        if rng.random() < 0.7:
            return (rng.choice((slice(None), 0, 2)), z, slice(None), slice(None))
        y, x = rng.randrange(ny), rng.randrange(nx)
        return (slice(None), slice(z, z + 9), slice(y, y + 40), slice(x, x + 40))

    def work(self, seed: int, actions: int | None) -> None:
        rng = random.Random(seed)
        try:
            while not self.stopped and actions != 0:
                self.found[self.act(rng)] += 1
                actions = actions and actions - 1
        except BaseException as error:
            self.failures.append(error)
            self.stopped = True

    def run(self, *, actions: int | None = None, seconds: float = 0.0) -> Counter[str]:
        """Let all threads act so many times each, or for so long, and return what came of it.

        Raises
        ------
        BaseException
            What went wrong in a thread, if anything did: a wrong value, an unexpected error.
        """
        before = settings.current().cache_mb
        settings.configure(cache_mb=LIMIT_MB[0])
        threads = [Thread(target=self.work, args=(n, actions), daemon=True) for n in range(THREADS)]
        try:
            for thread in threads:
                thread.start()
            if actions is None:
                time.sleep(seconds)
                self.stopped = True
            for thread in threads:
                thread.join(300)
            if any(thread.is_alive() for thread in threads):
                raise TimeoutError("threads wait for each other")
            if self.failures:
                raise self.failures[0]
            cache = shared_cache()
            assert not cache._loading, "somebody would wait for ever"
            assert cache.nbytes <= settings.current().cache_bytes
        finally:
            settings.configure(cache_mb=before)
        return self.found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(dict(Stress(Path(folder) / "v").run(seconds=float(sys.argv[1]))))
