"""Look around in volumes for a long time, and see what is left of it: memory, threads, files.

The test suite does this for a while; ``python tests/soaking.py`` (`make soak`) takes 2,000 random
steps through three layers of a volume larger than its cache, opens and closes 200 volumes and some
viewers, says what was held before and after, and fails if that was not flat. napari itself keeps
some MiB of removed layers and closed viewers, so that the same is done without volumes first: what
is beyond that is ours.
"""

import argparse
import gc
import os
import random
import sys
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

import napari_kemp
from napari_kemp import settings
from napari_kemp.precomputed.cache import shared_cache
from napari_kemp.sample import make_affinities

RESOLUTION_XYZ = (4, 4, 40)

# 200 MB, as napari-kemp counts them.
CACHE_MB = 200

# How often to look what is held during a walk.
EVERY = 100

# What may be more at the end, as measured without anything leaking, and some room. With pieces of
# chunks in the heaps of threads, a walk took 100 to 150 MiB more from its first fifth to its last.
WALK_MIB = 50
# Beside a full cache, and an eighth of it that is kept for the next pieces.
ON_ITS_WAY_MIB = 64
VOLUMES_MIB = 32
VIEWERS_MIB = 64
MORE_THREADS = 2
MORE_FILES = 2


@dataclass(frozen=True)
class Held:
    """What this process holds: MiB that are resident, threads, and open files and sockets."""

    memory: float
    threads: int
    files: int

    @classmethod
    def now(cls) -> "Held":
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return cls(
            pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
            sum(1 for _ in Path("/proc/self/task").iterdir()),
            sum(1 for _ in Path("/proc/self/fd").iterdir()),
        )

    def __str__(self) -> str:
        return f"{self.memory:.0f} MiB, {self.threads} threads, {self.files} files"


def make_volume(folder: Path, size_xyz: tuple[int, int, int]) -> None:
    """Write affinities with coarser scales: one piece of tissue, back and forth."""
    piece = make_affinities((256, 256, 32))
    z, y, x = (
        np.minimum(at, 2 * n - 1 - at)
        for at, n in (
            (np.arange(size) % (2 * n), n)
            for size, n in zip(size_xyz[::-1], piece.shape[1:], strict=True)
        )
    )
    napari_kemp.export(
        piece[:, z[:, None, None], y[:, None], x],
        folder,
        resolution=RESOLUTION_XYZ,
        chunk_size=(128, 128, 32),
    )


class Explorer:
    """Takes random steps through what a viewer shows."""

    def __init__(self, viewer, seed: int = 0):
        self.viewer = viewer
        self.random = random.Random(seed)

    def step(self) -> str:
        """Take one step, see it drawn, and return what it was."""
        steps = [self.scroll, self.leap, self.pan, self.zoom, self.turn, self.toggle]
        (step,) = self.random.choices(steps, (30, 15, 25, 22, 3, 5))
        step()
        self.draw()
        return step.__name__

    def draw(self) -> None:
        from qtpy.QtWidgets import QApplication

        for _ in range(2):  # a draw may ask for another level
            QApplication.processEvents()

    def scroll(self) -> None:
        dims = self.viewer.dims
        if dims.not_displayed:
            axis = dims.not_displayed[0]
            dims.set_current_step(
                axis, dims.current_step[axis] + self.random.choice((-2, -1, 1, 2))
            )

    def leap(self) -> None:
        dims = self.viewer.dims
        for axis in dims.not_displayed:
            dims.set_current_step(axis, self.random.randrange(dims.nsteps[axis]))

    def pan(self) -> None:
        extent = np.asarray(self.viewer.layers.extent.world)
        low, high = extent[:, list(self.viewer.dims.displayed)]
        self.viewer.scene.camera.center = (
            0,
            *(self.random.uniform(a, b) for a, b in zip(low, high, strict=True)),
        )

    def zoom(self) -> None:
        # From one voxel on 16 pixels to 16 voxels on one: through all levels.
        self.viewer.scene.camera.zoom = 2 ** self.random.uniform(-6, 2)

    def turn(self) -> None:
        self.viewer.dims.order = self.random.choice([(0, 1, 2), (0, 1, 2), (1, 0, 2), (2, 0, 1)])

    def toggle(self) -> None:
        layer = self.random.choice(list(self.viewer.layers))
        layer.visible = not layer.visible


def add_volume(viewer, folder: Path) -> None:
    """Add the layers of a volume."""
    from napari.layers import Layer

    from napari_kemp.plugin.layers import volume_layers

    for layer in volume_layers(napari_kemp.open_volume(folder)):
        viewer.add_layer(Layer.create(*layer))


def add_plain(viewer, folder: Path) -> None:
    """Add layers of zeros that look like those of a volume: what remains is napari's own."""
    from napari.layers import Layer

    from napari_kemp.plugin.layers import volume_layers

    for levels, look, kind in volume_layers(napari_kemp.open_volume(folder)):
        zeros = [np.zeros(level.shape, level.dtype) for level in levels]
        viewer.add_layer(Layer.create(zeros, {**look, "metadata": {}}, kind))


def explore(viewer, steps: int, every: int) -> list[Held]:
    """Take steps through what a viewer shows, remove it, and return what was held now and then."""
    explorer = Explorer(viewer)
    held = []
    for number in range(1, steps + 1):
        explorer.step()
        if number % every == 0:
            held.append(Held.now())
            say(f"step {number}: {held[-1]}, {shared_cache().nbytes / 2**20:.0f} MiB in the cache")
    viewer.layers.clear()
    explorer.draw()
    return held


def open_and_close(viewer, folder: Path) -> None:
    """Open a volume, look at it, and remove its layers."""
    viewer.open(str(folder), plugin="napari-kemp")
    Explorer(viewer).leap()
    Explorer(viewer).draw()
    viewer.layers.clear()
    Explorer(viewer).draw()


def still_there() -> list[str]:
    """Name what of removed volumes nobody has let go of."""
    gc.collect()
    ours = ("LevelView", "LazyArray", "Volume", "Scale", "ChunkReader", "Scrolling")
    return [type(each).__name__ for each in gc.get_objects() if type(each).__name__ in ours]


def open_and_close_plain(viewer) -> None:
    """Do the same with layers of plain arrays: what napari itself keeps of removed layers."""
    for _ in range(3):
        levels = [np.zeros((32, 256 // step, 256 // step), np.float32) for step in (1, 2)]
        viewer.add_image(levels, multiscale=True)
    Explorer(viewer).leap()
    Explorer(viewer).draw()
    viewer.layers.clear()
    Explorer(viewer).draw()


def come_and_go(folder: Path, *, show: bool = True) -> None:
    """Open a viewer with a volume, and close it."""
    import napari

    viewer = napari.Viewer(show=show)
    open_and_close(viewer, folder)
    viewer.open(str(folder), plugin="napari-kemp")
    Explorer(viewer).draw()
    viewer.close()


def come_and_go_plain() -> None:
    """Do the same without us: what napari itself keeps of closed viewers."""
    import napari

    viewer = napari.Viewer()
    for _ in range(2):
        for _ in range(3):
            viewer.add_image(np.zeros((16, 64, 64), np.float32))
        Explorer(viewer).leap()
        Explorer(viewer).draw()
    viewer.close()


class Soak:
    """Does each thing for long, and collects what was not flat."""

    def __init__(self) -> None:
        self.failures: list[str] = []

    def judge(self, what: str, before: Held, after: Held, most_memory: float) -> None:
        """Say what was held, and note if it has become more than some threads, files and MiB."""
        say(f"{what}: {before} -> {after}")
        for kind, grown, most in (
            ("MiB", after.memory - before.memory, most_memory),
            ("threads", after.threads - before.threads, MORE_THREADS),
            ("files", after.files - before.files, MORE_FILES),
        ):
            if grown > most:
                self.failures.append(f"{what}: {grown:.0f} {kind} more, {most:.0f} are expected")

    def walk(self, viewer, folder: Path, steps: int) -> None:
        say("zeros of the same shape: what is napari's own")
        plain = in_a_process(walk_plain, folder, steps // 2)
        say("the volume")
        add_volume(viewer, folder)
        held = explore(viewer, steps, EVERY)
        # What is on screen varies, and the cache has to fill.
        fifth = max(1, len(held) // 5)
        before, after = median(held[fifth : 2 * fifth]), median(held[-fifth:])
        self.judge(f"{steps} steps", before, after, WALK_MIB)
        plain = replace(after, memory=plain.memory)
        self.judge("zeros, and the volume", plain, after, CACHE_MB * 9 / 8 + ON_ITS_WAY_MIB)

    def repeat(self, what: str, action, times: int) -> tuple[Held, Held]:
        """Do something again and again; return what was held after a fifth, and at the end."""
        for number in range(times):
            if number == times // 5:
                before = Held.now()
            action()
        after = Held.now()
        say(f"{what}, {times} times: {before} -> {after}")
        return before, after

    def compare(self, what: str, without, action, times: int, most_memory: float) -> None:
        """Do something again and again without a volume, then with one."""
        before, after = self.repeat(f"{what}, plain layers", without, times)
        grown = max(0.0, after.memory - before.memory)
        before, after = self.repeat(f"{what}, a volume", action, times)
        self.judge(f"{what}, {times} times", before, after, grown + most_memory)


def walk_plain(folder: Path, steps: int) -> Held:
    """Take steps through zeros of the shape of a volume, and return what was held meanwhile."""
    import napari

    viewer = napari.Viewer()
    add_plain(viewer, folder)
    held = median(explore(viewer, steps, EVERY))
    viewer.close()
    return held


def in_a_process(function, *arguments):
    """Call a function where nothing that it leaves in memory is counted."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def say(line: str) -> None:
    print(line, flush=True)


def median(held: list[Held]) -> Held:
    return sorted(held, key=lambda each: each.memory)[len(held) // 2]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--volumes", type=int, default=200)
    parser.add_argument("--viewers", type=int, default=40)
    arguments = parser.parse_args()

    import napari

    settings.configure(cache_mb=CACHE_MB)
    soak = Soak()
    with tempfile.TemporaryDirectory() as name:
        large, small = Path(name) / "large", Path(name) / "small"
        for folder, size_xyz in ((large, (1024, 1024, 64)), (small, (256, 256, 32))):
            in_a_process(make_volume, folder, size_xyz)
        viewer = napari.Viewer()
        soak.walk(viewer, large, arguments.steps)
        soak.compare(
            "opened and closed",
            partial(open_and_close_plain, viewer),
            partial(open_and_close, viewer, small),
            arguments.volumes,
            VOLUMES_MIB,
        )
        left = still_there()
        if left:
            soak.failures.append(f"left of volumes: {left}")
        viewer.close()
        soak.compare(
            "viewers opened and closed",
            come_and_go_plain,
            partial(come_and_go, small),
            arguments.viewers,
            VIEWERS_MIB,
        )
    for failure in soak.failures:
        say(f"NOT FLAT: {failure}")
    return 1 if soak.failures else 0


if __name__ == "__main__":
    sys.exit(main())
