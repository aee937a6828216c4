"""Look around in volumes for a long time, and see what is left of it: memory, threads, files.

The test suite does this for a while; ``python tests/soaking.py`` (`make soak`) takes 2,000 random
steps through three layers of a volume larger than its cache, and opens and closes 200 volumes, and
says what was there before and after. napari itself keeps some MiB of removed layers, so that the
same is done with plain arrays, for comparison.
"""

import argparse
import gc
import os
import random
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

import napari_kemp
from napari_kemp import settings
from napari_kemp.precomputed.cache import shared_cache
from napari_kemp.sample import make_affinities

RESOLUTION_XYZ = (4, 4, 40)

# 200 MB, as napari-kemp counts them.
CACHE_MB = 200


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


def explore(viewer, folder: Path, steps: int, warm_up: int, report=None) -> tuple[Held, Held]:
    """Open a volume, take steps, and return what was held after the warm-up and at the end."""
    from napari.layers import Layer

    from napari_kemp.plugin.layers import volume_layers

    for layer in volume_layers(napari_kemp.open_volume(folder)):
        viewer.add_layer(Layer.create(*layer))
    explorer = Explorer(viewer)
    for number in range(steps):
        if number == warm_up:
            before = Held.now()
        explorer.step()
        if report is not None and (number + 1) % 100 == 0:
            report(
                f"step {number + 1}: {Held.now()}, cache {shared_cache().nbytes / 2**20:.0f} MiB"
            )
    after = Held.now()
    viewer.layers.clear()
    return before, after


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


def come_and_go_empty(folder: Path) -> None:
    """Do the same without us: what napari itself keeps of closed viewers."""
    import napari

    del folder
    viewer = napari.Viewer()
    for _ in range(2):
        for _ in range(3):
            viewer.add_image(np.zeros((16, 64, 64), np.float32))
        Explorer(viewer).leap()
        Explorer(viewer).draw()
    viewer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--warm-up", type=int, default=300)
    parser.add_argument("--volumes", type=int, default=200)
    parser.add_argument("--viewers", type=int, default=40)
    arguments = parser.parse_args()

    import napari

    def say(line: str) -> None:
        print(line, flush=True)

    settings.configure(cache_mb=CACHE_MB)
    with tempfile.TemporaryDirectory() as name:
        large, small = Path(name) / "large", Path(name) / "small"
        make_volume(large, (1024, 1024, 64))
        make_volume(small, (256, 256, 32))
        viewer = napari.Viewer()
        before, after = explore(viewer, large, arguments.steps, arguments.warm_up, say)
        say(f"{arguments.steps} steps: {before} -> {after}")

        for what, action in (
            ("three plain layers", open_and_close_plain),
            ("a volume", partial(open_and_close, folder=small)),
        ):
            for number in range(arguments.volumes):
                if number == arguments.volumes // 10:
                    before = Held.now()
                action(viewer)
            say(f"{what}, {arguments.volumes} times in one viewer: {before} -> {Held.now()}")
        say(f"left of volumes: {still_there() or 'nothing'}")
        viewer.close()

        for what, action in (("empty", come_and_go_empty), ("with a volume", come_and_go)):
            for number in range(arguments.viewers):
                if number == arguments.viewers // 4:
                    before = Held.now()
                action(small)
            say(f"{arguments.viewers} viewers, {what}: {before} -> {Held.now()}")


if __name__ == "__main__":
    sys.exit(main())
