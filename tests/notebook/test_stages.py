"""Stages as functions: the stage's files as objects, and the shell's numbers."""

import json

import numpy as np
import pytest
from conftest import make_processed
from PIL import Image
from tiny_runs import kept_loggers

from docs.site.reference_page import reference_page
from src import (
    Evaluator,
    Manifest,
    Maps,
    Results,
    Trainer,
    audit,
    cli,
    compare,
    create_data_loaders,
    create_model,
    crossval,
    evaluate,
    gradcam,
    preprocess,
)
from src.config import TrainConfig
from src.errors import ConfigError, DataNotFoundError, UnknownNameError

SMALL = {"phantom_subjects": 16, "phantom_voxel": 4.0, "num_slices": 2, "image_size": 48}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("stages")
    make_processed(root / "data/phantom_2d", people=(10, 10, 6, 0), images=2)
    return root


def places(root):
    return {"data_root": root / "data", "checkpoint_dir": root / "ck", "results_dir": root / "res"}


@pytest.fixture(scope="module")
def folds(root):
    more = {"freeze_backbone": True, "classes": 2, "bootstrap": 100, "device": "cpu"}
    made = [
        crossval("phantom_2d", folds=2, repeats=1, run=name, loss=loss, **more, **places(root))
        for name, loss in (("a", "ordinal"), ("b", "ce"))
    ]
    return root, made


@pytest.mark.slow
def test_preprocess_returns_the_data_set(tmp_path):
    manifest = preprocess("phantom_2d", **SMALL, **places(tmp_path))
    assert isinstance(manifest, Manifest)
    assert manifest.root == tmp_path / "data/phantom_2d"
    assert "<td>" in manifest._repr_html_()
    assert len(create_data_loaders(manifest.root)) == 2


@pytest.mark.slow
def test_crossval_returns_scores_with_tables_and_figures(folds):
    root, (result, _) = folds
    table = result.table()
    assert table.loc["balanced accuracy", "n_people"] == 26
    assert result["kind"] == "crossval"
    assert len(result.people()) == 26
    assert result.rivals().index[0] == "this model"
    assert "roc" in result.figures()
    assert result.figure("roc").size[0] > 300
    with pytest.raises(UnknownNameError, match="did you mean 'rivals'"):
        result.figure("rival")
    assert "On 26 people" in result._repr_html_()
    stored = json.loads((root / "res/a/metrics.json").read_text(encoding="utf-8"))
    assert stored == {name: value for name, value in result.items() if name != "files"}


@pytest.mark.slow
def test_evaluate_opens_the_checkpoint_of_a_run_also_on_another_study(root, tmp_path):
    train, test = create_data_loaders(root / "data/phantom_2d", num_classes=2)
    model = create_model("2d", num_classes=2, freeze_backbone=True, ordinal=True)
    Trainer(model, train, None, "cpu").train(save_dir=tmp_path / "ck")
    more = {"checkpoint": tmp_path / "ck/best_model.pth", "device": "cpu", "bootstrap": 100}
    own = evaluate("phantom_2d", data_root=root / "data", results_dir=tmp_path, run="a", **more)
    scored = Evaluator(model, test, "cpu", n_bootstrap=100).full_evaluation(tmp_path / "b")
    assert own["person"] == scored["person"]
    assert own.figure("confusion_matrix").size[0] > 300
    assert "external" not in own or own["external"] is None
    other = make_processed(tmp_path / "data/oasis_2d", people=(9, 9, 0, 0), seed=4)
    for name in ("manifest.csv", "preprocessing.json", *(p.name for p in other.glob(".scans/*"))):
        path = next(other.rglob(name))
        text = path.read_text(encoding="utf-8").replace("phantom", "oasis")
        path.write_text(text.replace("PHAN_", "OAS1_"), encoding="utf-8")
    for path in list(other.rglob("PHAN_*")):
        path.rename(path.with_name(path.name.replace("PHAN_", "OAS1_")))
    found, _ = (
        evaluate("oasis_2d", data_root=tmp_path / "data", results_dir=tmp_path, run=run, **more)
        for run in ("x", "y")
    )
    assert found["external"]["trained_on"] == "phantom_2d"
    assert found["person"]["n_people"] == 18
    told = compare("x", "y", results_dir=tmp_path, bootstrap=100)
    assert (told.table()["difference"] == 0).all()
    assert repr(told).startswith("Comparison(18 people; x - y: balanced accuracy +0.00 (")


@pytest.mark.slow
def test_a_result_that_is_printed_is_one_line_with_intervals(folds):
    _, (result, _) = folds
    person, score = result["person"], {"value": 0.561, "low": 0.489, "high": 0.624}
    metrics = person["metrics"] | {"balanced_accuracy": score}
    worse = Results(result | {"person": person | {"metrics": metrics}})
    said = "Results(a: 26 people, balanced accuracy 0.56 (0.49 to 0.62), macro AUC 1.00 "
    assert repr(worse).startswith(said)
    assert "\n" not in repr(worse)
    assert repr(Results()) == "Results({})"


@pytest.fixture(scope="module")
def checkpoint(root):
    train, _ = create_data_loaders(root / "data/phantom_2d", num_classes=2)
    model = create_model("2d", num_classes=2, freeze_backbone=True, ordinal=True)
    Trainer(model, train, None, "cpu").train(save_dir=root / "mapped")
    return root / "mapped/best_model.pth"


@pytest.mark.slow
def test_maps_come_with_their_verdict_tables_and_figures(root, checkpoint):
    more = {"checkpoint": checkpoint, "device": "cpu", "samples": 1, "run": "m", **places(root)}
    maps = gradcam("phantom_2d", graded=2, **more)
    stored = json.loads((root / "res/gradcam/m/explain.json").read_text(encoding="utf-8"))
    assert dict(maps) == stored
    assert maps.verdict == stored["grade"]["verdict"]
    assert list(maps.checks()["verdict"]) == [one["verdict"] for one in stored["grade"]["checks"]]
    table = maps.table()
    assert len(table) == stored["n_maps"]
    assert table["session"].map(type).eq(str).all()
    assert set(maps.figures()) >= {"grade", "Demented"}
    with Image.open(root / "res/gradcam/m/grade.png") as grade:
        assert maps.figure() == maps.figure("grade") == grade
    assert maps.figure("Demented") != grade
    with pytest.raises(UnknownNameError, match="did you mean 'grade'"):
        maps.figure("grades")
    with pytest.raises(DataNotFoundError, match="too little of a brain"):
        maps.regions()
    assert repr(maps).startswith(f"Maps(m: {maps.verdict}; {len(table)} maps of ")
    assert maps._repr_html_().count(maps.verdict) >= 1
    assert "<td>" in maps._repr_html_()


@pytest.mark.slow
def test_maps_that_nobody_tested_say_so(root, checkpoint):
    more = {"checkpoint": checkpoint, "device": "cpu", "run": "u", **places(root)}
    maps = gradcam("phantom_2d", graded=0, target="demented", **more)
    assert maps.verdict == "NOT KNOWN"
    assert maps.checks().empty
    assert maps.figure() == maps.figure(maps.figures()[0])
    assert "NOT KNOWN" in maps._repr_html_()
    (root / "res/gradcam/u/maps.csv").unlink()
    with pytest.raises(DataNotFoundError, match=r"maps\.csv"):
        maps.table()


def test_regions_are_read_where_there_are_some(tmp_path):
    (tmp_path / "regions.csv").write_text("region,class,ratio\nleft,all,1.5\n", encoding="utf-8")
    maps = Maps({"regions": {"available": True}}, [tmp_path / "regions.csv"])
    assert maps.regions().loc[0, "ratio"] == 1.5


def test_a_function_and_a_class_that_differ_by_capitals_are_both_there():
    import src
    import src.maps.gradcam as module

    assert src.GradCAM is module.GradCAM
    assert src.gradcam is gradcam
    assert "| [GradCAM](#gradcam) | " in reference_page()
    assert "| [gradcam](#gradcam-1) | " in reference_page()


@pytest.mark.slow
def test_compare_tells_runs_apart(folds):
    root, _ = folds
    found = compare("a", "b", results_dir=root / "res", bootstrap=100)
    table = found.table()
    assert set(table["metric"]) >= {"balanced_accuracy", "auc_demented"}
    assert ((table["low"] <= table["high"]) | table["low"].isna()).all()
    assert found.figure().size[0] > 300
    assert found._repr_html_().startswith("<p>26 people")
    with pytest.raises(DataNotFoundError, match="no_such"):
        compare("a", "no_such", results_dir=root / "res")


@pytest.mark.slow
def test_an_audit_that_fails_is_returned_with_what_mends_it(root, tmp_path):
    good = audit(root / "data/phantom_2d", results_dir=root / "res")
    assert good.verdict != "FAIL"
    assert good.fix == ""
    leaky = tmp_path / "leaky"
    for split in ("train", "test"):
        for source in sorted((root / "data/phantom_2d/train").rglob("*.png")):
            place = leaky / split / source.parent.name / source.name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(source.read_bytes())
    bad = audit(leaky, results_dir=tmp_path / "res")
    assert bad.verdict == "FAIL"
    assert bad.fix
    assert repr(bad).startswith(f"AuditReport({leaky}: FAIL (")
    assert "identical_files" in repr(bad)
    assert "identical_files" not in repr(good)
    assert bad.table().loc["identical_files", "verdict"] == "FAIL"
    assert "fix:" in bad._repr_html_()


@pytest.mark.parametrize(
    ("call", "kind", "said"),
    [
        (lambda: preprocess("phantom_2d", image_sise=3), UnknownNameError, "mean 'image_size'"),
        (lambda: preprocess("phantom_2d", num_classes=3), UnknownNameError, "mean 'classes'"),
        (lambda: preprocess("fantom_2d"), UnknownNameError, "mean 'phantom_2d'"),
        (lambda: crossval(folds={"a": 1}), ConfigError, "'folds' is a dictionary"),
        (lambda: crossval(epochs="x"), ConfigError, "'x' is no int"),
        (lambda: crossval(fold=1), ConfigError, "trains a part"),
        (lambda: compare("a"), ConfigError, "runs to compare: 1"),
        (lambda: audit("no/such/folder"), DataNotFoundError, "no/such/folder"),
    ],
)
def test_a_wrong_setting_is_told_in_a_sentence(call, kind, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=said):
        call()


@pytest.mark.slow
@pytest.mark.parametrize("frozen", [False, True])
def test_a_notebook_trains_and_scores_what_the_shell_does(root, tmp_path, frozen):
    words = "--dataset phantom_2d --classes 2 --device cpu"
    own = {
        "train": f"--epochs 2 --precision fp32 {'--freeze_backbone' * frozen}",
        "evaluate": "--bootstrap 100 --no-report",
    }
    kept = {**places(root), "checkpoint_dir": tmp_path / "ck", "results_dir": tmp_path / "res"}
    flags = [word for name, path in kept.items() for word in (f"--{name}", str(path))]
    flags += [*words.split(), "--run", "x"]
    with kept_loggers():
        for mode, more in own.items():
            assert cli.main(["--mode", mode, *flags, *more.split()]) == 0
    shell = json.loads((tmp_path / "res/x/metrics.json").read_text(encoding="utf-8"))
    train, test = create_data_loaders(root / "data/phantom_2d", num_classes=2)
    model = create_model("2d", num_classes=2, freeze_backbone=frozen, ordinal=frozen)
    config = TrainConfig(epochs=2, precision="fp32")
    history = Trainer(model, train, None, "cpu", config=config).train()
    result = Evaluator(model, test, "cpu", n_bootstrap=100).full_evaluation(tmp_path / "own")
    stored = json.loads((tmp_path / "ck/x/history.json").read_text(encoding="utf-8"))
    assert dict(history) == stored
    assert result["person"] == shell["person"]
    assert result["rivals"] == shell["rivals"]
    assert history.plot().size[0] > 300
    assert len(history.table()) == len(stored["val_loss"])
    best = stored.get("best_strength") or stored["best_epoch"]
    scores = stored["val_balanced_accuracy"]
    score = scores if frozen else scores[best - 1]
    tried = f"{len(stored['val_loss'])} penalties" if frozen else "2 epochs"
    said = f"best {best:.2g}: validation balanced accuracy {score:.2f}"
    assert repr(history) == f"History({tried}, {said})"


def test_a_curve_that_is_drawn_live_needs_a_notebook(root):
    train, _ = create_data_loaders(root / "data/phantom_2d", num_classes=2)
    with pytest.raises(ConfigError, match="this is none"):
        Trainer(create_model(num_classes=2, pretrained=False), train, plot=True)


def test_live_curves_are_drawn_in_one_place(monkeypatch):
    from src.training import history

    shown = []

    class Handle:
        def update(self, image):
            shown.append(image)

    def display(image, display_id):
        shown.append(image)
        return Handle()

    ipython = pytest.importorskip("IPython")
    monkeypatch.setattr(ipython, "get_ipython", lambda: object())
    monkeypatch.setattr("IPython.display.display", display)
    curve = history.LiveCurve()
    for epoch in (1, 2, 3):
        curve({"epoch": epoch, "train_loss": 1 / epoch, "val_balanced_accuracy": epoch / 4})
    assert len(shown) == 3
    assert not np.array_equal(np.asarray(shown[0]), np.asarray(shown[2]))
