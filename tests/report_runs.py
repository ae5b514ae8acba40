"""Folders of a finished run, as the stages leave them, on generated people and maps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from map_examples import blob, brain
from PIL import Image
from result_examples import CLASSES, evaluate_result

from src.files import write_json
from src.preprocessing.io import write_nifti

#: A tag, a way out of the folder, a table's separators, right-to-left signs, and great length.
HOSTILE = (
    "<script>window.harmed = 1</script>",
    "../../../../etc/passwd",
    'a,b;"c"|d\n=SUM(A1)',
    "\u202etxt.exe \u05d0\u05d1\u05d2",
    "long" * 2500,
    "{{ 7 * 7 }} </script><img src=x onerror='window.harmed = 1'>",
)
AFFINE = np.array([[2.0, 0, 0, -11], [0, 1.5, 0, -20], [0, 0, 3, -9], [0, 0, 0, 1]])


def scored_run(root: Path, names: tuple[str, ...] = (), **changes: Any) -> Path:
    """Write ``metrics.json``, ``people.csv`` and a figure; the first people are called `names`."""
    result = evaluate_result() | changes
    folder = root / "results" / "run_a"
    write_json(folder / "metrics.json", result)
    rng = np.random.default_rng(0)
    classes = result["classes"]
    p = rng.dirichlet(np.ones(len(classes)), 41)
    people = pd.DataFrame(
        {
            "subject": [*names, *(f"S{n:03d}" for n in range(41 - len(names)))],
            "class": np.resize(classes, 41),
            "predicted": [classes[k] for k in p.argmax(1)],
            **{f"p_{name}": p[:, k] for k, name in enumerate(classes)},
            "set_90": "|".join(classes[:2]),
        }
    )
    people.to_csv(folder / "people.csv", index=False)
    figures = root / "results" / "figures" / "run_a"
    figures.mkdir(parents=True)
    Image.fromarray(rng.integers(0, 255, (90, 160, 3), np.uint8)).save(figures / "roc.png")
    return folder


def add_neighbours(folder: Path, typical: float = 0.93, **cells: Any) -> None:
    """Add three training people to each row of ``people.csv``; `cells` are of the first row."""
    result = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    classes = result["classes"]
    table = pd.read_csv(folder / "people.csv", dtype={"subject": str}, keep_default_na=False)
    for place, alike in enumerate((0.97125, 0.96, -0.25), start=1):
        name = f"neighbour_{place}"
        table[name] = np.resize(classes, len(table))
        table[f"{name}_decade"] = 60 + 10 * place
        table[f"{name}_likeness"] = alike
    table = table.astype(object)
    for name, value in cells.items():
        table.loc[0, name] = value
    table.to_csv(folder / "people.csv", index=False)
    people = dict(zip(classes, (60, 42, 17), strict=True))
    section = {"available": True, "k": 3, "n_people": 119, "people": people, "typical": typical}
    write_json(folder / "metrics.json", result | {"neighbours": section})


def add_maps(folder: Path, subjects: tuple[str, ...]) -> Path:
    """Write ``explain.json``, ``maps.csv``, a volume, a map and a picture of each subject."""
    maps = folder.parent / "gradcam" / folder.name
    rows = []
    for number, subject in enumerate(subjects):
        stem = f"person{number}"
        write_nifti(maps / "maps" / f"{stem}_image.nii.gz", 100 * brain(), AFFINE)
        write_nifti(maps / "maps" / f"{stem}_map.nii.gz", blob(), AFFINE)
        Image.fromarray(np.full((13, 40, 3), 90, np.uint8)).save(maps / "maps" / f"{stem}.png")
        rows.append(
            {
                **{"subject": subject, "session": "MR1", "class": CLASSES[0]},
                **{"predicted": CLASSES[1], "map": f"maps/{stem}_map.nii.gz"},
                "picture": f"maps/{stem}.png",
            }
        )
    pd.DataFrame(rows).to_csv(maps / "maps.csv", index=False)
    value = {"value": 0.2, "low": 0.1, "high": 0.3}
    check = {"title": "Random weights change the map", "value": value, "verdict": "FAIL"}
    content = {
        **{"schema": "explain/1", "dataset": "oasis_2d", "method": "hirescam", "layers": ["l4"]},
        **{
            "target": "predicted",
            "side_known": True,
            "n_people": len(subjects),
            "n_maps": len(subjects),
        },
        "settings": {"data": {"classes": 3}},
        "grade": {"verdict": "FAIL", "checks": [check | {"sentence": "It does not change."}]},
    }
    write_json(maps / "explain.json", content)
    return maps


def _visit(
    name: str, scans: Sequence[str], said: dict[str, float] | None, left_out: Sequence[str] = ()
) -> dict[str, Any]:
    return {
        **{"session": name, "scans": list(scans), "left_out": list(left_out), "n_images": 20},
        **{"stage": said and CLASSES[0], "probabilities": said},
        "prediction_set": said and list(CLASSES[:2]),
        "spread_between_scans": said and dict.fromkeys(CLASSES, 0.042),
    }


def add_predictions(folder: Path, names: tuple[str, ...]) -> Path:
    """Write ``predictions.json`` with an answer for each name; the last is outside."""
    answers = []
    for number, name in enumerate(names):
        outside = number == len(names) - 1
        said = dict(zip(CLASSES, (0.7, 0.2, 0.1), strict=True))
        answers.append(
            {
                **{"name": name, "source": f"/scans/{name}", "subject": None, "session": None},
                "stage": None if outside else CLASSES[0],
                "probabilities": None if outside else said,
                "prediction_set": None if outside else list(CLASSES[:2]),
                "outside": outside,
                "reasons": ["its features are far"] if outside else [],
                **{"distance": 0.31, "p_distance": 0.2, "similarity": 0.98, "p_similarity": 0.5},
                "quality": {"brain_volume_ml": 1520.74, "noise": 0.0396},
                "flags": ["noise of .24 where .1 is usual"] if number == 0 else [],
                **{"map": None, "n_images": 20, "n_checkpoints": 1, "spread": None},
            }
        )
    model = {
        **{"checkpoints": ["best_model.pth"], "trained_on": "oasis_2d", "backbone": "resnet18"},
        **{"classes": list(CLASSES), "train_counts": [60, 42, 17], "stamps": []},
        **{"prediction_set_level": 0.9, "in_every_set": [CLASSES[2]], "outside_rate_wanted": 0.05},
    }
    visits = [_visit("MR1", names[:-1], said), _visit("MR2", (), None, names[-1:])]
    people = [
        {"subject": names[0], "sessions": visits},
        {"subject": "alone", "sessions": [_visit("MR1", names[:1], said)]},
    ]
    content = {"schema": "predict/1", "notice": "It is no diagnosis.", "model": model}
    content |= {"answers": answers, "people": people}
    content |= {"settings": {}, "versions": {"torch": "2.13.0"}}
    return write_json(folder / "predict" / "predictions.json", json.loads(json.dumps(content)))
