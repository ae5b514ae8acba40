"""Files between stages, as the stages left them, and damaged: refused by name, or made again."""

import logging
import re
import shutil
from functools import cache, cached_property
from types import SimpleNamespace

import pytest
from command_line import only_read
from mutations import json_mutations, some_of, table_mutations
from tiny_runs import kept_loggers, run_config

from src import cli
from src.config import config_from_args
from src.data.loaders import open_dataset
from src.errors import MriError
from src.evaluation.analyses.image_measures import stored_image_measures
from src.evaluation.cross_validation import Study
from src.evaluation.learning_curve import _read_done
from src.evaluation.run_comparison import compare
from src.evaluation.scored_runs import read_run
from src.evaluation.shuffled_labels import _read_null
from src.labels import class_scheme
from src.manifest import Manifest
from src.preprocessing.processed import processed_table
from src.preprocessing.space.grid import read_named_record
from src.report.page import answers as answers_part
from src.report.page import maps as maps_part
from src.report.page import scores as scores_part
from src.report.page.flow import flow
from src.report.page.gather import gather
from src.report.page.page import SIZES, render

pytestmark = pytest.mark.slow

NAME = "phantom_2d_efficientnet_lite0_2classes"
WORDS = (
    "--dataset phantom_2d --phantom_subjects 24 --phantom_voxel 4 --num_slices 2 --image_size 32 "
    "--classes 2 --bootstrap 100 --epochs 1 --backbone efficientnet_lite0 --device cpu --workers 1"
)
TRACEBACK = "Traceback"
FOLDS = {
    "weights": None,
    "folds": 2,
    "repeats": 1,
    "freeze_backbone": True,
    "bootstrap": 100,
    "workers": 1,
}


class Run:
    """Everything that the stages leave of 24 phantoms, and how each file is read."""

    def __init__(self, root):
        self.root = root
        self.data, self.results = root / "data" / "phantom_2d", root / "results"
        self.scored, self.folds = self.results / NAME, self.results / f"{NAME}_crossval"
        self.maps = self.results / "gradcam" / NAME
        self.config = run_config(self.data, root, backbone="efficientnet_lite0", **FOLDS)
        self.record = min((self.data / ".scans").glob("*.json"))

    @cached_property
    def study(self):
        return Study(self.config)

    @cached_property
    def manifest(self):
        return Manifest.read(self.data)

    def opened(self):
        data = open_dataset(self.data, "2d", class_scheme(2))
        return [data.with_split(split) for split in ("val", "test")], data.everyone("train")

    def page(self):
        render(gather(self.scored), SIZES[-1])

    def compare(self):
        runs = [read_run(self.folds, "a"), read_run(self.results / "other", "b")]
        compare(runs, 20, 0)

    def fold(self):
        return self.study.read(self.folds, self.study.folds[0], 0)

    def null(self):
        return _read_null(self.folds / "permutation.json", self.study.identity())

    def curve(self):
        _read_done(self.folds / "learning_curve.json", self.study)

    def scan(self):
        read_named_record(self.data, self.record.stem)
        own = self.manifest.table["subject"] == self.record.stem.rpartition("_")[0]
        processed_table(self.data, self.manifest.where(own))

    def measures(self):
        return stored_image_measures(self.manifest, self.study.data.cache)

    def who(self):
        """Whatever is wrong with the data set is a sentence on the page."""
        note = flow(gather(self.scored))[1]
        if note:
            raise MriError(note)

    def settings(self):
        path = str(self.scored / "config.json")
        return config_from_args(cli.build_parser().parse_args(["--config", path]))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("own")
    places = {"data_root": "data", "checkpoint_dir": "checkpoints", "results_dir": "results"}
    words = [*WORDS.split(), *(w for k, v in places.items() for w in (f"--{k}", str(root / v)))]
    scans = str(root / "data" / "phantom_2d")
    with kept_loggers():
        for more in (
            "full --weights none --graded 4 --samples 1 --no-report",
            f"predict --input {scans} --no-report",
            "crossval --freeze_backbone --folds 2 --repeats 1 --permute_labels 1 --learning_curve",
        ):
            mode, *own = more.split()
            assert cli.main(["--mode", mode, *own, *only_read(mode, words)]) == 0
    made = Run(root)
    shutil.copytree(made.folds, made.results / "other")
    return made


def tables(path, read, taken):
    return SimpleNamespace(path=path, read=read, damages=table_mutations, taken=taken)


def objects(path, read, taken, *leave):
    def damages(content):
        return json_mutations(content, *leave)

    return SimpleNamespace(path=path, read=read, damages=damages, taken=taken)


_GRADED = ("weights", "labels", "faithfulness", "stability", "outside", "agreement", "phantom")
#: What may be taken: names of damages that leave what a stage could have written.
FILES = {
    "people.csv": tables(
        lambda run: run.folds / "people.csv",
        Run.compare,
        r"subject: (text|five|minus|nan|inf|many digits)|(repeat|fold|seed): (removed|five)"
        r"|label: (removed|empty)|logit_\w+: (removed|five|minus)|set_\d+: (removed|empty)",
    ),
    "folds.csv": tables(lambda run: run.folds / "folds.csv", Run.compare, "none"),
    "a fold": objects(
        lambda run: run.folds / "folds" / f"{run.study.folds[0].name}_seed0.json",
        Run.fold,
        r"calibration/(n_people: five|reason: text)|conformal/scores/\d.*: (list|removed)",
        "identity",
    ),
    "permutation.json": objects(
        lambda run: run.folds / "permutation.json",
        Run.null,
        r"identity: object|null: list|null/0: removed",
        "identity",
    ),
    "learning_curve.json": objects(
        lambda run: run.folds / "learning_curve.json", Run.curve, "none", "identity"
    ),
    "maps.csv": tables(
        lambda run: run.maps / "maps.csv",
        Run.page,
        r"subject: \w+( digits)?|session: \w+( digits)?|(explained|maximum|peak_.|map_in_scan): .*"
        r"|(p|side_known|picture): removed|picture: (empty|text|five|minus|nan|inf|many digits)"
        r"|map: (text|five|minus|nan|inf)",
    ),
    "explain.json": objects(
        lambda run: run.maps / "explain.json",
        Run.page,
        r"(run|checkpoint|cell|groups|regions|phantom|versions|stamps|side_known)\b.*"
        r"|(trained|dataset): .*|(method|layers|target|dataset).*: (text|list|removed)"
        r"|settings/(?!data: |data/classes).*|n_people: five|grade: (null|removed)"
        r"|grade/(method|target|n_people|cell|model|weights|labels|faithfulness|stability|outside"
        r"|agreement|phantom)\b.*|grade/checks: list|grade/checks/\d+: removed"
        r"|grade/checks/\d+/(name|n_people|threshold).*|grade/checks/\d+/(title|sentence): text"
        r"|grade/checks/\d+/value.*: (five|null|removed)",
        *_GRADED,
        *("trained", "groups", "regions", "settings", "versions", "model"),
    ),
    "predictions.json": objects(
        lambda run: run.scored / "predict" / "predictions.json",
        Run.page,
        r"notice: text|model/classes/\d+: text"
        r"|model/(asked_for|dim|preprocess|outside_means|side_known)\b.*"
        r"|model/(trained_on|backbone): text|model/\w+: list|model/(checkpoints|train_counts|"
        r"in_every_set)/\d+: (text|five|removed)|people: (list|removed)|people/\d+: removed"
        r"|(settings|versions|seconds|answered_before)\b.*|answers: list|answers/\d+: removed"
        r"|answers/\d+/(source|name|subject|session|map): (null|text|removed)"
        r"|answers/\d+/(subject|session|differs|caution|p_similarity|like_changed|error_rate"
        r"|n_compared|limit|unusual|side_known): (null|list|object|removed|five)"
        r"|answers/\d+/(reasons|flags|prediction_set)(/\d+)?: (list|text|removed)"
        r"|answers/\d+/(distance|similarity|p_distance|spread|quality): (null|five|object)"
        r"|answers/\d+/n_\w+: five|answers/\d+/unusual/\w+: (null|five|removed)"
        r"|answers/\d+/like_changed/\d+: .*"
        r"|people/\d+/subject: text|people/\d+/sessions: list|people/\d+/sessions/\d+: removed"
        r"|people/\d+/sessions/\d+/session: (null|text)|people/\d+/sessions/\d+/n_images: five"
        r"|people/\d+/sessions/\d+/(scans|left_out|prediction_set)(/\d+)?: (list|text|removed)"
        r"|people/\d+/sessions/\d+/spread_between_scans.*: (null|five|object|removed)",
        *("settings", "versions", "preprocess"),
    ),
    "rejected.csv": tables(
        lambda run: run.data / "rejected.csv",
        Run.who,
        r"(?!reason: (removed|empty)|subject: (removed|empty))\w+: .*",
    ),
    "preprocessing.json": objects(
        lambda run: run.data / "preprocessing.json",
        lambda run: (run.opened(), run.who()),
        r"(version|cohort|dataset|dim|label|preprocess|split|phantom|people|side_known)\b.*"
        r"|jpeg_quality\b.*"
        r"|stamps(/\d+)?: (list|text|removed)|rejected: removed"
        r"|set_aside: (null|object|removed)|set_aside/p: .*"
        r"|set_aside/stages(/\w+)?: (object|removed)|set_aside/stages/\w+/(aside|n): five",
    ),
    "manifest.csv": tables(
        lambda run: run.data / "manifest.csv",
        Run.opened,
        r"half of the rows|header alone|cohort: .*|subject: .*|session: .*|path: .*"
        r"|(slice|fold|age|sex|mmse|etiv|nwbv|fingerprint): .*|(label|split): (empty|removed)"
        r"|(day|rating_days|diagnosis|site|scanner|manufacturer|field_strength): .*",
    ),
    "a record of a scan": objects(
        lambda run: run.record,
        Run.scan,
        r"key: text|stored: null|grid/\d: five|stored/(shape|affine|to_ras)/.*: (five|removed)"
        r"|files/\d: removed|files/\d/(path|fingerprint): text|files/\d/slice: (null|five)"
        r"|files/\d/to_stored/\d/\d: five|side_known: (null|removed)|notes: (list|removed)",
    ),
    "image_measures.csv": tables(
        lambda run: next((run.data / ".features").glob("image_measures_*.csv")),
        Run.measures,
        r"dark_01: removed|dark_\d+: empty|a row cut short",
    ),
    "config.json": objects(
        lambda run: run.scored / "config.json",
        Run.settings,
        r"\w+: (null|object|removed)|\w+/\w+: (null|five|text|removed)|\w+/let_in: .*"
        r"|(run|device|dask|checkpoint_dir|results_dir): text|workers: five|data/seed: .*",
    ),
}


@pytest.fixture(autouse=True)
def pictures_once(monkeypatch):
    """Pictures and volumes are not what is damaged here: each is encoded once."""
    for module in (maps_part, answers_part):
        monkeypatch.setattr(module, "volume", cache(module.volume))
        monkeypatch.setattr(module, "figure_of", cache(module.figure_of))
    monkeypatch.setattr(maps_part, "picture", cache(maps_part.picture))
    monkeypatch.setattr(scores_part, "picture", cache(scores_part.picture))


@pytest.mark.parametrize("name", FILES)
def test_whatever_happens_to_a_file_is_told_with_its_name(run, name, caplog, pytestconfig):
    one = FILES[name]
    path = one.path(run)
    good = path.read_bytes()
    caplog.set_level(logging.WARNING)
    one.read(run)
    assert path.name not in caplog.text  # nothing is said of a whole one
    wrong = []
    try:
        damages = one.damages(good)
        for what in damages if pytestconfig.getoption("--every-damage") else some_of(damages):
            content = damages[what]
            caplog.clear()
            path.write_bytes(content)
            told = _told(one.read, run, caplog)
            by_name = path.name in told or re.fullmatch(one.taken, what)
            if told.startswith(TRACEBACK) or not by_name:
                wrong.append((what, told[-300:]))
            path.write_bytes(good)
    finally:
        path.write_bytes(good)
    assert wrong == []


def _told(read, run, caplog):
    """Return the error, or the log."""
    try:
        read(run)
    except MriError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - a traceback is what must not be
        return f"{TRACEBACK} {type(error).__name__}: {error}"
    return caplog.text
