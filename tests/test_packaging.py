"""Every way to install the project ends with a codec that works and a manifest that npe2 finds."""

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import npe2
import pytest

REPOSITORY = Path(__file__).parents[1]

# Without site, so that the editable installation that the tests run in stays out of sight.
PROBE = """
import sys
sys.path[:0] = [{target!r}]
sys.path.append({site!r})
import npe2, numpy, napari_kemp
from napari_kemp.codec import fpzip
assert napari_kemp.__file__.startswith({target!r}), napari_kemp.__file__
assert (fpzip.decode(fpzip.encode(numpy.eye(3))).squeeze() == numpy.eye(3)).all()
manifest = npe2.PluginManifest.from_distribution("napari-kemp")
print(manifest.name, len(manifest.contributions.readers))
"""


def run(*command):
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """An sdist of the repository, and the wheel made from that sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", str(folder), str(REPOSITORY))
    return {"sdist": next(folder.glob("*.tar.gz")), "wheel": next(folder.glob("*.whl"))}


def test_one_wheel_serves_every_python_from_3_11_on(built):
    assert "-cp311-abi3-" in built["wheel"].name
    names = zipfile.ZipFile(built["wheel"]).namelist()
    assert "napari_kemp/napari.yaml" in names
    assert "napari_kemp/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "codec_src/"))]


@pytest.mark.parametrize("kind", ["sdist", "wheel", "source tree"])
def test_npe2_finds_the_manifest(kind, built, tmp_path):
    package = REPOSITORY if kind == "source tree" else built[kind]
    target = str(tmp_path / "site")
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--target", target, str(package))
    probe = PROBE.format(target=target, site=sysconfig.get_paths()["purelib"])
    assert run(sys.executable, "-S", "-c", probe) == "napari-kemp 1\n"


def test_npe2_finds_the_manifest_of_the_installation_that_is_tested():
    manifest = npe2.PluginManifest.from_distribution("napari-kemp")
    assert manifest.name == "napari-kemp"
    assert manifest.package_version == "0.1.0"
