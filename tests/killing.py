"""Kill saves at random moments, and look at what they leave.

The test suite does this a few times; ``python tests/killing.py 50`` does it as often as one likes
and says what was found each time.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import napari_kemp
from napari_kemp import open_volume
from napari_kemp.export.ledger import NAME
from napari_kemp.sample import make_affinities

ARGUMENTS = {"chunk_size": (32, 32, 16), "resolution": (4, 4, 40), "voxel_offset": (5, -3, 2)}
SIZE_XYZ = (320, 288, 40)


def affinities():
    return make_affinities(SIZE_XYZ)


def tree(folder):
    """Return the bytes of all files below a folder, by name."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@dataclass
class Kill:
    opened: bool
    chunks: int
    locks: int
    kept: int


class Killer:
    """Saves to be killed, and the save that was not, beside each other in one folder."""

    def __init__(self, folder, **arguments):
        self.folder = folder
        self.arguments = {**ARGUMENTS, **arguments}
        self.values = affinities()
        self._killed = 0
        assert self._start(folder / "whole").wait() == 0
        self.expected = tree(folder / "whole")

    def kill(self, part, *, over=None):
        """Kill a save when about so much of it is there, 0 to 1, and resume it.

        Fails if anything is not as it should. With `over`, the save replaces what such a save has
        left.
        """
        self._killed += 1
        place = self.folder / f"killed{self._killed}"
        if over is not None:
            napari_kemp.export(self.values[:, :8], place, **over)
        process = self._start(place, overwrite=over is not None)
        while process.poll() is None and self._there(place) < part * len(self.expected):
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.02))
        process.kill()
        process.wait()
        left = tree(place) if place.is_dir() else {}
        locks = [name for name in left if name.endswith(".__lock")]
        chunks = {name: data for name, data in left.items() if "/" in name and name not in locks}
        if over is None:
            assert set(left) - set(locks) <= set(self.expected) | {NAME}
            for name, data in chunks.items():
                assert data == self.expected[name], f"{name} is damaged"
        opened = "info" in left
        if opened:
            for scale in open_volume(place).scales:
                for cell in scale.grid.cells():
                    scale.read_chunk(cell)
        resume = NAME in left or over is None
        report = napari_kemp.export(
            self.values, place, **self.arguments, resume=resume, overwrite=not resume
        )
        resumed = tree(place)
        differing = {
            name
            for name in resumed.keys() | self.expected.keys()
            if resumed.get(name) != self.expected.get(name)
        }
        assert not differing, f"killed at {part}, then resumed: {sorted(differing)[:5]}"
        return Kill(opened, len(chunks), len(locks), report.kept)

    def _there(self, place):
        return sum(os.path.lexists(place / name) for name in self.expected)

    def _start(self, place, **arguments):
        code = (
            "import sys; sys.path.insert(0, sys.argv[1])\n"
            "from killing import affinities; import napari_kemp, tensorstore\n"
            "values = affinities(); print('ready', flush=True)\n"
            f"napari_kemp.export(values, sys.argv[2], **{ {**self.arguments, **arguments}!r})"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(Path(__file__).parent), str(place)],
            stdout=subprocess.PIPE,
        )
        assert process.stdout.readline() == b"ready\n"
        return process


def main(times):
    random.seed(0)
    with tempfile.TemporaryDirectory() as folder:
        killer = Killer(Path(folder))
        chunks = len(killer.expected) - 1
        print(f"an uninterrupted save: {chunks} chunks")
        print("| kill | opens | chunks whole | stale locks | kept by resume | identical |")
        print("| ---: | --- | ---: | ---: | ---: | --- |")
        for number in range(1, times + 1):
            kill = killer.kill(random.random())
            print(
                f"| {number} | {'yes' if kill.opened else 'no volume yet'} "
                f"| {kill.chunks} | {kill.locks} | {kill.kept} | yes |",
                flush=True,
            )


if __name__ == "__main__":
    main(int(sys.argv[1]))
