"""The command line: ``napari-kemp view | info | export | verify | index | bench | demo``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Generator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_kemp import __version__, settings
from napari_kemp.errors import KempError

if TYPE_CHECKING:
    from napari_kemp.precomputed import Volume


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0, or 1 if something is wrong."""
    options = _parser().parse_args(arguments)
    try:
        status: int | None = options.run(options)
    except KempError as error:
        print(f"napari-kemp: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("napari-kemp: stopped", file=sys.stderr)
        return 130
    return status or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="napari-kemp",
        description="Open, inspect and save fpzip and kempressed affinity volumes.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    view = commands.add_parser("view", help="open volumes in napari")
    view.add_argument("urls", nargs="+", metavar="URL", help="path or URL of a volume")
    _add_cache(view)
    view.add_argument(
        "--threads", type=_positive, metavar="N", help="that decode (default: one a processor)"
    )
    view.add_argument(
        "--prefetch",
        type=_natural,
        metavar="N",
        help="sections to read ahead in the direction of scrolling (default: 2)",
    )
    view.add_argument(
        "--no-async-slicing",
        dest="async_slicing",
        action="store_const",
        const=False,
        help="leave napari's asynchronous rendering as it is, also for remote volumes",
    )
    view.set_defaults(run=_view)

    info = commands.add_parser("info", help="say what a volume holds")
    info.add_argument("url", metavar="URL", help="path or URL of a volume")
    info.add_argument("--json", action="store_true", help="print JSON instead of a table")
    info.set_defaults(run=_info)

    export = commands.add_parser("export", help="save a volume or a .npy file as a new volume")
    export.add_argument(
        "source", metavar="SRC", help="path or URL of a volume, or a .npy file (c, z, y, x)"
    )
    export.add_argument("destination", metavar="DST", help="folder or URL of the new volume")
    export.add_argument(
        "--encoding",
        type=_encodings,
        default=["kempressed"],
        metavar="NAME[,NAME...]",
        help="kempressed, fpzip, raw or compressed_segmentation; of several, the first is for the "
        "finest scale, the last for all that remain (default: kempressed)",
    )
    export.add_argument(
        "--precision",
        type=int,
        default=0,
        metavar="BITS",
        help="bits that fpzip keeps; 0 keeps all",
    )
    voxels: dict[str, Any] = {"type": int, "nargs": 3, "metavar": ("X", "Y", "Z")}
    export.add_argument(
        "--chunk-size",
        **voxels,
        default=(128, 128, 64),
        help="voxels a chunk (default: 128 128 64)",
    )
    export.add_argument(
        "--resolution",
        **{**voxels, "type": float},
        help="nanometres a voxel (default: the source's, else 1 1 1)",
    )
    export.add_argument(
        "--voxel-offset",
        **voxels,
        help="place of the source's first voxel (default: the source's, else 0 0 0)",
    )
    export.add_argument(
        "--region",
        type=int,
        nargs=6,
        metavar=("X0", "Y0", "Z0", "X1", "Y1", "Z1"),
        help="first voxel and the one beyond the last, counted from the source's first",
    )
    export.add_argument(
        "--mips",
        type=_mips,
        default="auto",
        metavar="N",
        help="coarser scales to add (default: until a section is one chunk)",
    )
    export.add_argument("--sharded", action="store_true", help="pack chunks into shards")
    export.add_argument(
        "--rescale", action="store_true", help="save integers, 0 to 255 or 65535, as 0.0 to 1.0"
    )
    export.add_argument(
        "--plain",
        action="store_true",
        help="no section tables behind chunks: byte-identical with CloudVolume's",
    )
    there = export.add_mutually_exclusive_group()
    there.add_argument("--resume", action="store_true", help="go on with a save that was stopped")
    there.add_argument(
        "--overwrite",
        action="store_true",
        help="replace a volume that is there; asks first on a terminal",
    )
    export.add_argument(
        "--verify", action="store_true", help="read back what is written, and compare"
    )
    export.add_argument(
        "--dask", metavar="ADDRESS", help="scheduler of a Dask cluster that does the work"
    )
    export.add_argument(
        "--threads",
        type=_positive,
        metavar="N",
        help="chunks at the same time (default: one a processor)",
    )
    _add_cache(export)
    export.add_argument(
        "--dry-run",
        action="store_true",
        help="say what would be written, estimated from a few chunks, and write nothing",
    )
    export.add_argument("--json", action="store_true", help="print the report as JSON")
    export.set_defaults(run=_export)

    verify = commands.add_parser(
        "verify",
        help="look for missing, damaged, wrongly shaped and out-of-range chunks",
        description="Decode every chunk of a volume. The exit status is 1 if any is not as it "
        "should be.",
    )
    verify.add_argument("url", metavar="URL", help="path or URL of a volume")
    verify.add_argument("--threads", type=_positive, metavar="N", help="default: one a processor")
    verify.add_argument("--json", action="store_true", help="print JSON instead of a table")
    verify.set_defaults(run=_verify)

    index = commands.add_parser(
        "index",
        help="append section tables to the chunks of a volume that has none",
        description="Make sections of a kempressed volume, or channels of an fpzip volume, "
        "readable alone. Chunks only grow; other readers ignore what is behind the stream.",
    )
    index.add_argument("url", metavar="URL", help="path or URL of a volume")
    index.add_argument("--dry-run", action="store_true", help="only say what would be appended")
    index.add_argument("--threads", type=_positive, metavar="N", help="default: one a processor")
    index.add_argument("--json", action="store_true", help="print JSON instead of a table")
    index.set_defaults(run=_index)

    bench = commands.add_parser(
        "bench", help="measure compression on your own data, beside gzip, zstd and PyPI fpzip"
    )
    bench.add_argument(
        "data",
        nargs="?",
        metavar="FILE.npy | URL",
        help="affinities to measure on (default: the sample)",
    )
    bench.add_argument(
        "--rounds",
        type=_positive,
        default=5,
        metavar="N",
        help="rounds behind each median (default: %(default)s)",
    )
    bench.add_argument("--json", action="store_true", help="print JSON instead of a table")
    bench.set_defaults(run=_bench)

    demo = commands.add_parser(
        "demo", help="open the sample or a volume, save a piece of it as kempressed, read it back"
    )
    demo.add_argument("url", nargs="?", metavar="URL", help="volume to show (default: the sample)")
    demo.add_argument(
        "--screenshot", type=Path, metavar="FILE", help="leave a picture of the window"
    )
    demo.add_argument("--export", type=Path, metavar="DIR", help="where to save the piece")
    demo.set_defaults(run=_demo)
    return parser


def _add_cache(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cache",
        dest="cache_mb",
        type=_natural,
        metavar="MIB",
        help="most memory for what has been read (default: 1024)",
    )


def _mips(text: str) -> int | str:
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number or auto, got {text!r}") from None


def _encodings(text: str) -> list[str]:
    known = ("kempressed", "fpzip", "raw", "compressed_segmentation")
    names = text.split(",")
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"expected one of {', '.join(known)}, got {name!r}")
    return names


def _positive(text: str) -> int:
    return _whole_number(text, least=1)


def _natural(text: str) -> int:
    return _whole_number(text, least=0)


def _whole_number(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        expected = f"expected a whole number of {least} or more"
        raise argparse.ArgumentTypeError(f"{expected}, got {text!r}")
    return number


def _configure(options: argparse.Namespace) -> None:
    """Change the settings that a command's options name; those that are not given stay."""
    names = {field.name for field in fields(settings.Settings)}
    given = {name: value for name, value in vars(options).items() if value is not None}
    settings.configure(**{name: given[name] for name in names & given.keys()})


def _view(options: argparse.Namespace) -> None:
    _need_napari()
    from napari_kemp.plugin.session import take_napari_settings
    from napari_kemp.plugin.view import view

    take_napari_settings()
    _configure(options)  # after what has been saved in napari, which it overrules
    view(options.urls)


def _info(options: argparse.Namespace) -> None:
    from napari_kemp.precomputed import open_volume

    volume = open_volume(options.url)
    if options.json:
        print(json.dumps({"url": volume.url, **json.loads(volume.info.to_json())}, indent=2))
    else:
        print(_describe(volume))


def _describe(volume: Volume) -> str:
    info = volume.info
    channels = f"{info.num_channels} channel" + ("s" if info.num_channels != 1 else "")
    titles = (
        "scale",
        "resolution nm",
        "size",
        "voxel offset",
        "chunk",
        "encoding",
        "chunks",
        "raw GB",
    )
    rows = [titles]
    for scale in volume.scales:
        each = scale.info
        encoding = each.encoding + (" (sharded)" if each.sharding is not None else "")
        rows.append(
            (
                each.key,
                _times(each.resolution),
                _times(each.size),
                _times(each.voxel_offset, ", "),
                _times(each.chunk_sizes[0]),
                encoding,
                str(scale.grid.num_cells),
                f"{scale.array.nbytes / 1e9:.3g}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"{volume.url}: {info.type}, {info.data_type}, {channels}", ""]
    lines += [
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join(lines)


def _times(numbers: Sequence[float], separator: str = " x ") -> str:
    return separator.join(f"{number:.10g}" for number in numbers)


def _export(options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from napari_kemp.export import Progress, export, make_plan, preview
    from napari_kemp.export.parts import load

    _configure(options)
    request = {
        "source": load(options.source),
        "destination": options.destination,
        "encoding": options.encoding,
        "precision": options.precision,
        "chunk_size": options.chunk_size,
        "resolution": options.resolution,
        "voxel_offset": options.voxel_offset,
        "mips": options.mips,
        "region": None if options.region is None else (options.region[:3], options.region[3:]),
        "sharded": options.sharded,
        "rescale": options.rescale,
        "seekable": not options.plain,
        "resume": options.resume,
        "overwrite": options.overwrite,
        "verify": options.verify,
    }
    if options.dry_run:
        _print(preview(make_plan(**request)), options)
        return
    if options.overwrite:
        _ask_before_replacing(options.destination)
    with tqdm(unit="B", unit_scale=True, desc="saving", disable=None) as bar:

        def show(progress: Progress) -> None:
            bar.total = progress.bytes_raw * progress.total // progress.done
            bar.update(progress.bytes_raw - bar.n)

        report = export(
            **request,
            threads=options.threads,
            dask=options.dask,
            progress=show,
        )
    _print(report, options)


def _print(result: Any, options: argparse.Namespace) -> None:
    print(json.dumps(result.to_json(), indent=2) if options.json else result)


def _verify(options: argparse.Namespace) -> int:
    from napari_kemp.export.verify import Verdict, verify_volume
    from napari_kemp.precomputed import open_volume

    _configure(options)
    volume = open_volume(options.url)
    verdict: Verdict = _walk(volume, verify_volume(volume, threads=options.threads), "verifying")
    _print(verdict, options)
    return 1 if verdict.findings else 0


def _index(options: argparse.Namespace) -> None:
    from napari_kemp.export.index import index_volume
    from napari_kemp.precomputed import open_volume

    _configure(options)
    volume = open_volume(options.url)
    steps = index_volume(volume, dry_run=options.dry_run, threads=options.threads)
    _print(_walk(volume, steps, "indexing"), options)


def _walk(volume: Volume, steps: Generator[int, None, Any], verb: str) -> Any:
    """Drive a walk over all chunks of a volume, and return what it has found."""
    from contextlib import closing

    from tqdm import tqdm

    total = sum(scale.grid.num_cells for scale in volume.scales)
    with closing(steps), tqdm(total=total, unit=" chunks", desc=verb, disable=None) as bar:
        while True:
            try:
                bar.update(next(steps) - bar.n)
            except StopIteration as end:
                return end.value


def _ask_before_replacing(destination: str) -> None:
    from napari_kemp.precomputed import volume_exists

    if not sys.stdin.isatty() or not volume_exists(destination):
        return
    if input(f"{destination} holds a volume already. Replace it? [y/N] ").strip().lower() != "y":
        raise KempError(f"{destination}: left as it is")


def _bench(options: argparse.Namespace) -> None:
    from napari_kemp import bench
    from napari_kemp.export import as_source
    from napari_kemp.export.parts import load
    from napari_kemp.sample import make_affinities

    if options.data is None:
        source, name = as_source(make_affinities((256, 256, 16))), "the sample"
    else:
        source, name = as_source(load(options.data)), options.data
    table = bench.measure(bench.middle(source), name, options.rounds)
    print(json.dumps(table.to_json(), indent=2) if options.json else table)


def _demo(options: argparse.Namespace) -> None:
    _need_napari()
    from napari_kemp.plugin.demo import demo

    demo(options.url, screenshot=options.screenshot, destination=options.export)


def _need_napari() -> None:
    from importlib.util import find_spec

    if find_spec("napari") is None:
        raise KempError("this needs napari: pip install 'napari-kemp[napari]' 'napari[all]'")


if __name__ == "__main__":
    sys.exit(main())
