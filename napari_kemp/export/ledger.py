"""What an unfinished save was started with: an object beside ``info`` while the save lasts.

Readers of the volume never ask for it, and it is removed when the last chunk is there, so that what
remains is the volume alone. A save that was stopped is taken up again only by a plan that would
write the same bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from napari_kemp.errors import ExportError, KempError
from napari_kemp.export.plan import Plan
from napari_kemp.precomputed import (
    Volume,
    create_from_info,
    open_volume,
    remove_volume,
    volume_exists,
)
from napari_kemp.precomputed.location import Location
from napari_kemp.precomputed.storage import ObjectStore

NAME = ".napari-kemp-export.json"
"""The object, in the folder of the ``info`` file."""

_VERSION = 1


@dataclass(frozen=True, eq=False)
class Destination:
    """Where a save's chunks go.

    Attributes
    ----------
    volume : Volume
        Its ``info`` file is in place.
    resumed : bool
        Whether chunks of the same plan may be there already.
    finished : bool
        Whether all of them must be: there is no ledger any more.
    """

    volume: Volume
    resumed: bool = False
    finished: bool = False


def open_destination(plan: Plan) -> Destination:
    """Make the destination ready for the chunks of a plan.

    Killed at any moment, this can be done again: the ledger says "preparing" before anything is
    touched, and "writing" once the ``info`` file is there and nothing of an older volume is.

    Raises
    ------
    ExportError
        If there is a volume that may not be touched, if it was started with another plan, or if
        the place cannot be written to.
    """
    try:
        return _open(plan)
    except ExportError:
        raise
    except (KempError, OSError) as error:
        raise ExportError(f"cannot save to {plan.destination}: {error}") from error


def close_destination(plan: Plan) -> None:
    """Remove the ledger: the save is complete.

    Raises
    ------
    ExportError
        If that is not possible.
    """
    try:
        _store(plan).remove(NAME)
    except OSError as error:
        raise ExportError(f"{plan.destination}: {NAME} cannot be removed: {error}") from error


def _open(plan: Plan) -> Destination:
    url = plan.destination
    there = volume_exists(url)
    if there and not (plan.resume or plan.overwrite):
        raise ExportError(f"{url}: there is a volume already")
    if plan.resume:
        ledger = _read(plan)
        if ledger is not None:
            if ledger["plan"] != _as_stored(plan.to_json()):
                raise ExportError(
                    f"{url}: cannot be resumed, since it was started with other parameters "
                    f"({_difference(ledger['plan'], plan)}); use the same ones, or overwrite it"
                )
            if ledger["stage"] == "writing":
                return Destination(_reopened(plan), resumed=True)
            # What is there was to be replaced, or is nothing but an `info` file.
            return Destination(_created(plan))
        if there:
            volume = open_volume(url)
            if volume.info.to_json() != plan.info.to_json():
                raise ExportError(
                    f"{url}: there is another volume already, which no unfinished save left; "
                    "choose another folder, or ask for it to be overwritten"
                )
            return Destination(volume, resumed=True, finished=True)
    if not plan.overwrite:
        _refuse_leftovers(plan)
    return Destination(_created(plan))


def _created(plan: Plan) -> Volume:
    """Clear what is in the way, and write the ``info`` file."""
    _write(plan, "preparing")
    if volume_exists(plan.destination):
        remove_volume(open_volume(plan.destination))
    remove_volume(Volume(Location.parse(plan.destination), plan.info))
    created = create_from_info(plan.destination, plan.info)
    _write(plan, "writing")
    return created


def _reopened(plan: Plan) -> Volume:
    volume = open_volume(plan.destination)
    if volume.info.to_json() != plan.info.to_json():
        raise ExportError(
            f"{plan.destination}: cannot be resumed, since its info file has been changed since "
            "the save was started; restore it, or overwrite the volume"
        )
    return volume


def _refuse_leftovers(plan: Plan) -> None:
    for scale in Volume(Location.parse(plan.destination), plan.info).scales:
        if scale.holds_chunks():
            raise ExportError(
                f"{scale.location.url}: holds chunks already, though {plan.destination} has no "
                "info file; choose another folder, or ask for them to be overwritten"
            )


def _store(plan: Plan) -> ObjectStore:
    return ObjectStore.at(Location.parse(plan.destination))


def _write(plan: Plan, stage: str) -> None:
    members = {"version": _VERSION, "stage": stage, "plan": plan.to_json()}
    _store(plan).write(NAME, json.dumps(members, indent=2, allow_nan=False).encode())


def _read(plan: Plan) -> dict[str, Any] | None:
    stored = _store(plan).read(NAME).result()
    if stored is None:
        return None
    try:
        members: dict[str, Any] = json.loads(stored.unwrapped(1 << 26))
        if members["version"] == _VERSION and members["stage"] in ("preparing", "writing"):
            return {"plan": members["plan"], "stage": members["stage"]}
    except (ValueError, KeyError, TypeError):
        pass
    raise ExportError(
        f"{plan.destination}/{NAME}: not the ledger of a save by this version of napari-kemp; "
        "overwrite the volume"
    )


def _as_stored(members: dict[str, Any]) -> Any:
    return json.loads(json.dumps(members))


def _difference(stored: dict[str, Any], plan: Plan) -> str:
    """Name one thing that differs between two plans."""
    place, old, new = "plan", stored, _as_stored(plan.to_json())
    while True:
        if isinstance(old, dict) and isinstance(new, dict):
            keys: list[Any] = [*old, *(key for key in new if key not in old)]
            old, new = {k: old.get(k) for k in keys}, {k: new.get(k) for k in keys}
        elif isinstance(old, list) and isinstance(new, list):
            keys = [*range(min(len(old), len(new)))]
        else:
            return f"{place}: {json.dumps(old)} then, {json.dumps(new)} now"
        key = next((key for key in keys if old[key] != new[key]), None)
        if key is None:
            return f"{place}: {len(old)} then, {len(new)} now"
        place, old, new = f"{place}.{key}", old[key], new[key]
