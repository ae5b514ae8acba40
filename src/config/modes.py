"""The modes of the command line: what each is for, one example of each, and groups of them.

Which flags a mode reads stands with the flags: a part of `RunConfig` names the modes that read it,
and an `option` of its own may name others.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mode:
    """One ``--mode``.

    Attributes:
        about: What it does, in a line.
        example: Words after ``--mode NAME``.
    """

    about: str
    example: str = ""


#: Every mode that is a stage, by its name; `full` runs several of them.
MODES = {
    "preprocess": Mode("raw files become a processed data set", "--dataset oasis --dim 3d"),
    "train": Mode("a processed data set becomes a checkpoint", "--dataset oasis_3d"),
    "evaluate": Mode("the test people are scored", "--dataset oasis_3d"),
    "gradcam": Mode("maps of the test people are made and tested", "--dataset oasis_3d"),
    "stress": Mode("known changes of scans are asked of a model", "--dataset oasis_3d"),
    "audit": Mode("a split is checked for leaks", "--dataset kaggle_orig --data_dir DIR"),
    "crossval": Mode("repeated cross-validation by person", "--dataset oasis_2d --freeze_backbone"),
    "crossdata": Mode("models of one study are tested on others", "--datasets STUDY_2d STUDY_2d"),
    "compare": Mode("two or more runs are told apart", "RUN RUN"),
    "predict": Mode("new scans are answered", "--input SCAN --checkpoint FILE"),
    "report": Mode("the page of a run is written", "--run RUN"),
    "export": Mode("a checkpoint becomes an ONNX file", "--checkpoint FILE"),
}
#: The stages of ``--mode full``, in order; the report comes after them.
FULL = ("preprocess", "train", "evaluate", "gradcam")
FULL_ABOUT = Mode(f"{', '.join(FULL)}, then report; the default", "--dataset phantom_2d")
#: Modes by what they work on: anything; one data set, model or run; processed images; training.
EVERY = tuple(MODES)
ON_A_RUN = tuple(mode for mode in MODES if mode != "compare")
ON_ONE_DATASET = tuple(mode for mode in ON_A_RUN if mode != "crossdata")
ON_IMAGES = ("train", "evaluate", "gradcam", "stress", "crossval")
TRAINING = ("train", "crossval", "crossdata")
#: Flags of the short help.
COMMON = (
    *("dataset", "data_dir", "classes", "backbone", "freeze_backbone", "epochs"),
    *("checkpoint", "input", "run", "device"),
)
