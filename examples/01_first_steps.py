"""
First steps: people, a network, a score
=======================================

This script makes synthetic people, trains a small network that tells whose brain is ill, and asks
how far its score can be believed. It needs no data and no GPU, and takes less than a minute.

Nothing here is about patients: the people are phantoms, made by formulas, and their disease is a
widening of the ventricles that we plant ourselves. That is why they are good for a first look: we
know what a network should find.
"""

# %%
# Run it from the project's folder: ``python examples/01_first_steps.py``. Everything that it writes
# goes into a temporary folder.
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

sys.path.insert(0, str(Path.cwd()))

from src import Evaluator, Trainer, create_data_loaders, create_model
from src.config import RunConfig
from src.config.options import build_config
from src.stages import preprocess

WORK = Path(tempfile.mkdtemp())

# %%
# 1. Make people, and cut their brains into slices
# ------------------------------------------------
#
# This is what ``python main.py --mode preprocess --dataset phantom`` does. The settings are those
# of the command line, by the same names. Half of the people are healthy. Each person goes to one
# side only, to train, val or test: a network that has seen a person's other slices would
# recognise the person and not the disease.
settings = {
    "dataset": "phantom_2d",
    "data_root": WORK / "data",
    "phantom_subjects": 80,
    "phantom_voxel": 4.0,
    "num_slices": 6,
    "image_size": 64,
    "test_fraction": 0.4,
}
for path in preprocess.run(build_config(RunConfig, settings)):
    print("wrote", path.relative_to(WORK))

# %%
# 2. Open them, and look
# ----------------------
#
# With two classes, 0 is healthy (CDR 0) and 1 is any stage of dementia. An image is one slice, of
# shape (1, height, width) with grey levels from 0 to 255.
train_loader, test_loader = create_data_loaders(
    data_dir=WORK / "data" / "phantom_2d",
    dataset_type="phantom",
    model_dim="2d",
    batch_size=32,
    num_classes=2,
)
batches = list(train_loader)
images = np.concatenate([batch for batch, _ in batches])
labels = np.concatenate([batch for _, batch in batches])
print("images of training people:", images.shape)

# %%
# Slices from the middle of the head hold most brain: we look at those.
largest = np.argsort([-np.count_nonzero(image) for image in images])
figure, panels = plt.subplots(2, 4, figsize=(8, 4.6), layout="constrained")
for row, label, words in zip(panels, (0, 1), ("healthy", "demented"), strict=True):
    chosen = [index for index in largest if labels[index] == label]
    for panel, index in zip(row, chosen[:4], strict=True):
        panel.imshow(images[index, 0], cmap="gray")
        panel.set_axis_off()
    row[0].set_title(words, loc="left")
figure.suptitle("Slices of the training people")

# %%
# Can you see it? The dark ventricles in the middle are wider in the second row, though not in
# every slice: disease comes in stages, and people differ.
#
# 3. Train
# --------
#
# The network learnt to see on photographs; its weights come with a package. They stay as they are
# (a *frozen backbone*), and only the last layer is fitted to our people, which takes seconds. How
# strongly it is held back is chosen inside the training people. The *test* people are opened once,
# at the end.
model = create_model(
    model_dim="2d",
    backbone="efficientnet_lite0",
    num_classes=2,
    pretrained=True,
    freeze_backbone=True,
)
trainer = Trainer(model, train_loader, test_loader, device="cpu")
trainer.train()

# %%
# 4. How good is it, and how sure is that?
# ----------------------------------------
#
# A score without an interval says little. With 32 people tested, one more right answer moves the
# score by about three points. The interval says which scores the same network might have reached
# on 32 others.
evaluator = Evaluator(model, test_loader, device="cpu")
results = evaluator.full_evaluation(save_dir=WORK / "results")
person = results["person"]
score = person["metrics"]["balanced_accuracy"]
print("people tested:", person["n_people"])
low, high = score["low"], score["high"]
print(f"balanced accuracy {score['value']:.2f}, 95 % interval {low:.2f} to {high:.2f}")

# %%
# Beside it stand *rivals*: ways to answer that need no network. Whoever always says "healthy" has
# a balanced accuracy of one half. A network that is not better than counting dark voxels has
# learnt to count dark voxels.
answers = {"the network": score}
for rival in results["rivals"]:
    if rival["available"]:
        answers[rival["name"].replace("_", " ")] = rival["metrics"]["balanced_accuracy"]
shown = {name: one for name, one in answers.items() if one["low"] is not None}

figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
for place, one in enumerate(shown.values()):
    color = "tab:gray" if place else "tab:blue"
    axes.plot([one["low"], one["high"]], [place, place], color=color)
    axes.plot(one["value"], place, "o", color=color)
axes.axvline(0.5, color="black", linewidth=0.8, linestyle=":")
axes.set_yticks(range(len(shown)), shown)
axes.invert_yaxis()
axes.set_xlim(0, 1.02)
axes.set_xlabel("balanced accuracy, with its 95 % interval; dotted: chance")
axes.set_title(f"The network and its rivals on {person['n_people']} people")

# %%
# What did you learn? Two whose intervals overlap widely cannot be told apart by so few people,
# whichever point lies further to the right. That holds for real studies as well, and is easy to
# miss when a paper prints one number. The MMSE is a test of memory that takes ten minutes; it is
# part of how a stage is found, so it is no fair rival but an upper reference.
#
# Next: the same from the command line, with a page that shows all of it, is
# ``python main.py --mode full --dataset phantom_2d``.
