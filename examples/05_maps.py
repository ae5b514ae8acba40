"""
Maps: where a network looked, and why that is no proof
======================================================

A coloured map over a brain convinces everyone. This script makes some, puts several methods side
by side, and then tests whether the maps deserve to be believed.

Research use only. The people are phantoms. That is a strength here: we know where their disease
was put.
"""

# %%
# Run it from the project's folder: ``.venv/bin/python examples/05_maps.py``.
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch

sys.path.insert(0, str(Path.cwd()))

from src import (
    GradCAM,
    Trainer,
    create_data_loaders,
    create_model,
    explain,
    get_target_layer,
    gradcam,
    preprocess,
)

WORK = Path(tempfile.mkdtemp())
PLACES = {
    "data_root": WORK / "data",
    "results_dir": WORK / "results",
    "checkpoint_dir": WORK / "checkpoints",
}

# %%
# 1. A model to explain
# ---------------------
#
# 40 rated phantoms, two classes. The backbone stays as it was trained on photographs; only a head
# is fitted, which takes seconds.
manifest = preprocess(
    "phantom_2d",
    phantom_subjects=40,
    phantom_voxel=4.0,
    num_slices=3,
    image_size=96,
    workers=1,
    **PLACES,
)
train_loader, test_loader = create_data_loaders(manifest.root, num_classes=2)
model = create_model("2d", num_classes=2, freeze_backbone=True, ordinal=True)
Trainer(model, train_loader, device="cpu").train(save_dir=WORK / "checkpoints" / "maps")

# %%
# 2. One scan: `explain`
# ----------------------
#
# The scan goes the way of every new scan, and the map comes back on the scan's own grid. We take an
# ill person from the test people, whom the model never saw.
test = manifest.table[manifest.table["split"] == "test"]
person = test.loc[test["label"] != "NonDemented", "subject"].iloc[0]
scan = min((WORK / "data" / "phantom").rglob(f"{person}_MR1_*masked_gfc.img"))
told = explain(model, scan, "Demented", device="cpu")
print(told.answer)
print("map of", told.target, "with shape", told.map.shape, "from", told.map.min(), "to 1")

figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
axes.imshow(told.figure)
axes.set_axis_off()

# %%
# The colour is a share of the map's own maximum. It does not say *how much* was found: the map of a
# healthy person has a brightest place, too. Two maps do not compare in strength.
#
# 3. The methods do not agree
# ---------------------------
#
# Four methods explain the same slice, the same model and the same class, at the same layer.
image = torch.from_numpy(told.images[told.images.sum(axis=(1, 2)).argmax()])[None]
methods = ("gradcam", "gradcam++", "layercam", "hirescam")
figure, panels = plt.subplots(1, 4, figsize=(9, 2.7), layout="constrained")
maps = {}
for panel, method in zip(panels, methods, strict=True):
    with GradCAM(model, get_target_layer(model), device="cpu", method=method) as cam:
        maps[method] = cam.generate_cam(image, target_class=1)
    panel.imshow(image[0], cmap="gray")
    panel.imshow(maps[method], cmap="inferno", alpha=0.5, vmin=0, vmax=1)
    panel.set_title(method, fontsize=10)
    panel.set_axis_off()
flat = pd.DataFrame({method: one.ravel() for method, one in maps.items()})
print(flat.corr("spearman").round(2).to_string())

# %%
# The table has rank correlations: 1 means the same order of places, 0 means no relation.
# ``gradcam`` and ``hirescam`` are the same wherever a network averages its last map, as this one
# does; others mark other places. Whoever may choose the method may choose the story.
#
# 4. Test the maps: the grade
# ---------------------------
#
# `gradcam` makes maps of all test people and tests those of a few. It runs what ``python main.py
# --mode gradcam --dataset phantom_2d`` runs. With three people it cannot pass: eight are the
# default, and more are better.
tested = gradcam(
    "phantom_2d",
    classes=2,
    checkpoint=WORK / "checkpoints" / "maps" / "best_model.pth",
    target="demented",
    samples=1,
    graded=3,
    run="maps",
    device="cpu",
    **PLACES,
)
print(tested)
for check in tested.checks().itertuples():
    print(f"- {check.verdict}: {check.sentence}")

# %%
# How to read it:
#
# - *Random weights*: if a network that learnt nothing gives the same map, the map shows the image
#   and not what was learnt.
# - *Shuffled labels*: the same, if wrong labels give the same map.
# - *Deleting*: if marked places are blurred, the answer must change more than with random places.
# - *Shift, noise*: a map that moves when nothing happened is not worth reading in detail.
# - *Planted change*: only phantoms have it. "Twice as dense" would mean that a map holds twice as
#   much where the disease was put as in the brain on average. An even map has 1.
#
# One FAIL is enough: it stands on every figure of the run. Compare that with the first picture
# above, which looked as good as any in a paper.
figure, axes = plt.subplots(figsize=(9, 6), layout="constrained")
axes.imshow(tested.figure("grade"))
axes.set_axis_off()

# %%
# Every map has a row: whose it is, and where it is strongest, in mm.
columns = ["subject", "class", "predicted", "p", "peak_x", "peak_y", "peak_z"]
print(tested.table()[columns].round(2).head(3).to_string(index=False))

# %%
# 5. Why a map is no proof
# ------------------------
#
# - A map shows what *this model* used. Another model with the same score may use other places.
# - A place that is not marked may be ill. A model stops looking when it has seen enough.
# - "It looks at the hippocampus, so it is right" is a circle: of ten maps one would show that.
# - Real people have no planted truth. There, nobody can give you the last line of the grade.
plt.show()
