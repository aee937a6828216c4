"""``info`` files as nobody should write them, and somebody will."""

import json
import random
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

SHARDING = {
    "@type": "neuroglancer_uint64_sharded_v1",
    "preshift_bits": 1,
    "hash": "identity",
    "minishard_bits": 1,
    "shard_bits": 2,
    "minishard_index_encoding": "gzip",
    "data_encoding": "gzip",
}

SCALE = {
    "key": "4_4_40",
    "size": [20, 17, 9],
    "resolution": [4, 4, 40],
    "voxel_offset": [-5, 7, 3],
    "chunk_sizes": [[8, 8, 4]],
    "encoding": "raw",
}

MEMBERS = {
    "@type": "neuroglancer_multiscale_volume",
    "type": "image",
    "data_type": "float32",
    "num_channels": 1,
    "scales": [
        {**SCALE, "fpzip_precision": 0, "compressed_segmentation_block_size": [8, 8, 8]},
        {**SCALE, "key": "sharded", "sharding": SHARDING},
    ],
}

NUMBERS = [
    *(0, -1, 1, 3, 1.5, -0.0, 7.0, 1e300, -1e300, 1e-300),
    *(2**31, 2**32, 2**53 + 1, 2**62, 2**63, 2**64, -(2**63), 10**30, -(10**30)),
    *(float("nan"), float("inf"), float("-inf")),
]

KEYS = [
    "..",
    "../..",
    "../outside",
    "../../../../../../../../../../tmp",
    "a/../../outside",
    "./..//outside",
    "/outside",
    "//127.0.0.1/outside",
    "http://127.0.0.1:9/x",
    "file:///outside",
    "s3://bucket/x",
    "gs://bucket/x",
    "precomputed://memory://x",
    "..\\outside",
    "link",
    "link/deeper",
    ".",
    "/",
    "~",
    "~root",
    "a\0b",
    "a\nb",
    "\ud800",
    "a|zip:b",
    "%2e%2e/outside",
    "?x=1",
    "#x",
    "k" * 300,
    "k/" * 3000,
]

OTHERS: list[Any] = [
    *(None, True, False, "", "4", "NaN", "raw", "bossdb", "jpeg", "kempressed", "uint8", "object"),
    *([], [[]], {}, {"a": 1}, [0, 0, 0], [-8, 8, 8], [2**40, 2**40, 2**40], [8, 8], [8, 8, 8, 8]),
    *([[8, 8, 8], [0, 0, 0]], ["8", "8", "8"], [None, None, None], [[8, 8, 8]] * 2000),
    *("identity", "murmurhash3_x86_128", "x" * 100_000),
]

HOSTILE_VALUES = [*NUMBERS, *KEYS, *OTHERS]


def places(node: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Iterate over the paths of all members and items, below each other."""
    steps = node.items() if isinstance(node, dict) else enumerate(node)
    for step, below in steps:
        yield (*path, step)
        if isinstance(below, dict | list):
            yield from places(below, (*path, step))


def replaced(members: dict[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """Return the members with one of them replaced."""
    changed = deepcopy(members)
    node: Any = changed
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    return changed


def removed(members: dict[str, Any], path: tuple[str | int, ...]) -> dict[str, Any]:
    """Return the members without one of them."""
    changed = deepcopy(members)
    node: Any = changed
    for step in path[:-1]:
        node = node[step]
    del node[path[-1]]
    return changed


def nested(depth: int) -> bytes:
    """Return an array in an array in an array."""
    return b"[" * depth + b"]" * depth


def written_files(seed: int, count: int) -> Iterator[bytes]:
    """Generate contents of ``info`` files, the same ones for the same seed."""
    rng = random.Random(seed)
    everywhere = list(places(MEMBERS))
    plain = json.dumps(MEMBERS).encode()
    for _ in range(count):
        members = MEMBERS
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            path = rng.choice(everywhere)
            try:
                if rng.random() < 0.1:
                    members = removed(members, path)
                else:
                    # Keys are where a volume points to something else.
                    values = KEYS if path[-1] == "key" else HOSTILE_VALUES
                    members = replaced(members, path, rng.choice(values))
            except (KeyError, IndexError, TypeError):
                continue  # an earlier change has taken that place away
        content = json.dumps(members).encode()
        kind = rng.random()
        if kind < 0.05:
            at = rng.randrange(len(content))
            content = content[:at] + rng.randbytes(rng.randrange(1, 4)) + content[at + 1 :]
        elif kind < 0.08:
            content = content[: rng.randrange(len(content))]
        elif kind < 0.1:
            content = rng.choice([b"\xef\xbb\xbf", b"\xff\xfe", b"\0", b" " * 1000]) + content
        elif kind < 0.12:
            content = plain[:-1] + b', "deep": ' + nested(rng.choice((200, 900, 5000))) + b"}"
        elif kind < 0.14:
            twin = rng.choice([b'"type": "image"', b'"num_channels": 1', b'"key": "4_4_40"'])
            content = content.replace(twin, twin + b", " + twin)
        elif kind < 0.16:
            content = plain.replace(b"17, 9]", b"17, " + b"9" * rng.choice((40, 6000)) + b"]")
        yield content
