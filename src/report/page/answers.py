"""What a model said of new scans, as cards and rows."""

from __future__ import annotations

from typing import Any

from ..estimates import beside_in_words
from .gather import PREDICTIONS, RunFiles, inside
from .maps import figure_of
from .pictures import volume
from .text import short_classes, shown

_CARDS = 60  # scans that get a card with figures; all get a row
_VOLUMES = 6
_QUALITY = {
    "brain_volume_ml": ("brain volume", "mL", 0),
    "noise": ("noise", "share of the brain's brightness", 3),
    "ringing": ("stripes in the finest detail", "times the detail beside", 2),
    "ghosts": ("ghosts in the air", "share of the brain's brightness", 3),
    "grey_to_white": ("grey matter", "share of white matter's brightness", 2),
    "bright": ("far brighter than white matter", "share of the brain", 4),
    "correlation": ("likeness to the template", "correlation", 2),
    "overlap": ("overlap with the template's brain", "Dice", 2),
    "cut": ("brain cut off by the field of view", "share", 2),
}


def answers_of(files: RunFiles, *, width: int, voxels: int) -> dict[str, Any] | None:
    """Return what the page says of new scans, or None where none were predicted.

    Args:
        files: Of the run.
        width: Of figures, in pixels.
        voxels: Of a volume in the viewer.

    Raises:
        ImageError: A map is damaged.
        ManifestError: A map's path leaves the folder.
    """
    content = files.predicted
    if content is None:
        return None
    folder = (files.folder / PREDICTIONS).parent
    model = content["model"]
    volumes: list[dict[str, Any]] = []
    cards: list[dict[str, Any]] = []
    for number, answer in enumerate(content["answers"]):
        card = _card(answer, number)
        if number < _CARDS:
            alt = f"Map behind the answer on {card['name']}"
            card["picture"] = figure_of(folder, answer["map"], alt, width)
        if answer["map"] and len(volumes) < _VOLUMES:
            figure = inside(folder, answer["map"])
            image = figure.with_name(f"{figure.stem}_image.nii.gz")
            map = figure.with_name(f"{figure.stem}_map.nii.gz")
            if image.is_file() and map.is_file():
                known = bool(answer.get("side_known", model.get("side_known")))
                text = f"map of {shown(answer['stage'])}"
                volumes.append(
                    volume(image, map, card["name"], text, side_known=known, voxels=voxels)
                )
        cards.append(card)
    n_outside = sum(bool(answer["outside"]) for answer in content["answers"])
    n_caution = sum(bool(answer.get("differs")) for answer in content["answers"])
    return {
        "notice": shown(content["notice"], 400),
        "classes": [shown(name) for name in model["classes"]],
        "short": short_classes(model["classes"]),
        "level": f"{100 * model['prediction_set_level']:.0f} %",
        "always": [shown(name) for name in model["in_every_set"]],
        "trained_on": shown(model["trained_on"]),
        "backbone": shown(model["backbone"]),
        "n_train": sum(model["train_counts"]),
        "checkpoints": len(model["checkpoints"]),
        "stamps": [shown(stamp, 300) for stamp in model["stamps"]],
        "rate": f"{100 * model['outside_rate_wanted']:.0f} %",
        "cards": cards,
        "people": _people(content),
        "shown": min(len(cards), _CARDS),
        "n_outside": n_outside,
        "n_caution": n_caution,
        "volumes": volumes,
    }


def _people(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row per visit of those of whom several scans were given."""
    rows = []
    for person in content.get("people", []):  # pages of before have none
        sessions = person["sessions"]
        if sum(len(one["scans"]) + len(one["left_out"]) for one in sessions) < 2:
            continue
        for one in sessions:
            spread = (one["spread_between_scans"] or {}).values()
            rows.append(
                {
                    "subject": shown(person["subject"], 60),
                    "session": shown(one["session"] or ""),
                    "scans": [shown(name, 60) for name in one["scans"]],
                    "left_out": [shown(name, 60) for name in one["left_out"]],
                    "stage": shown(one["stage"]) if one["stage"] else None,
                    "probabilities": [float(p) for p in (one["probabilities"] or {}).values()],
                    "held": [shown(name) for name in one["prediction_set"] or []],
                    "spread": max(spread, default=None),
                }
            )
    return rows


def _card(answer: dict[str, Any], number: int) -> dict[str, Any]:
    held = answer["prediction_set"]
    probabilities, spread = answer["probabilities"] or {}, answer["spread"] or {}
    return {
        "id": f"scan-{number}",
        "name": shown(answer["name"], 60),
        "stage": shown(answer["stage"]) if answer["stage"] else None,
        "probabilities": [
            {"name": shown(name), "p": float(p), "sd": spread.get(name)}
            for name, p in probabilities.items()
        ],
        "held": None if held is None else [shown(name) for name in held],
        "beside": beside_in_words(answer.get("tasks") or {}),
        "outside": bool(answer["outside"]),
        "reasons": [shown(reason, 400) for reason in answer["reasons"]],
        "differs": [shown(kind) for kind in answer.get("differs", [])],
        "caution": [shown(one, 400) for one in answer.get("caution", [])],
        "flags": [shown(flag, 300) for flag in answer["flags"]],
        "quality": [
            {"title": title, "value": f"{answer['quality'][key]:.{digits}f}", "unit": unit}
            for key, (title, unit, digits) in _QUALITY.items()
            if (answer["quality"] or {}).get(key) is not None
        ],
        "distance": answer["distance"],
        "p_distance": answer["p_distance"],
        "similarity": answer["similarity"],
        "n_images": answer["n_images"],
        "picture": None,
    }
