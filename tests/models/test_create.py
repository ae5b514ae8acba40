"""The public API, as a notebook uses it, and its instant import."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import src
from src.auditing.audit import audit_folder
from src.cohorts.oasis import index_oasis
from src.config import RunConfig, TrainConfig
from src.config.options import build_config
from src.data.loaders import open_dataset, reader_workers
from src.data.run_data import open_run_data
from src.errors import CheckpointError, ConfigError, DataNotFoundError, MriError, UnknownNameError
from src.evaluation.open_checkpoint import load_trained
from src.evaluation.run_comparison import compare_runs
from src.evaluation.scored_runs import read_run
from src.inference.inputs import find_inputs
from src.labels import class_scheme
from src.manifest import Manifest
from src.maps.regions.atlas import read_atlas
from src.models.checkpoint import load_checkpoint
from src.models.create import create_model
from src.stages.report import build_report

ROOT = Path(__file__).resolve().parents[2]


def modules_after(code):
    """Return the names of the modules that a fresh process has imported after `code`."""
    code += "; import json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_src_imports_neither_torch_nor_pandas():
    assert not modules_after("import src") & {"torch", "pandas", "numpy"}


def test_every_public_name_is_there():
    assert sorted(src._MODULE_OF) == sorted(src.__all__)
    assert all(getattr(src, name).__name__ == name for name in src.__all__)
    assert set(src.__all__) <= set(dir(src))


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'src' has no attribute 'Nothing'"):
        _ = src.Nothing


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dim", "backbone"), [("2d", "efficientnet_lite0"), ("3d", "resnet_small")]
)
def test_the_notebook_block(request, tmp_path, dim, backbone):
    from src import Evaluator, GradCAM, Trainer, create_data_loaders, create_model, get_target_layer

    folder = request.getfixturevalue(f"processed_{dim}")
    train, test = create_data_loaders(folder, "phantom", dim, batch_size=8, num_workers=0)
    model = create_model(dim, backbone, num_classes=4, pretrained=False, device="cpu")
    history = Trainer(model, train, test, "cpu").train(num_epochs=1, save_dir=tmp_path)
    assert len(history["train_loss"]) == 1
    assert history["test"]["n_people"] == 4
    assert (tmp_path / "best_model.pth").is_file()

    results = Evaluator(model, test, "cpu", n_bootstrap=100).full_evaluation(tmp_path / "scores")
    assert results["person"]["n_people"] == 4
    assert 0 <= results["person"]["metrics"]["accuracy"]["value"] <= 1

    image, _ = test.dataset[0]
    with GradCAM(model, get_target_layer(model, backbone), "cpu") as gradcam:
        cam = gradcam.generate_cam(image.float()[None], target_class=1)
    assert cam.shape == tuple(image.shape[1:])
    assert np.isfinite(cam).all()
    assert cam.min() >= 0
    assert cam.max() <= 1


@pytest.mark.slow
def test_defaults_of_each_dimension():
    assert create_model("2d").backbone == "efficientnet_lite0"
    assert create_model("3d").backbone == "simple"


def test_pretrained_loads_weights_in_2d_only():
    assert create_model("2d").pretrained
    assert not create_model("2d", pretrained=False).pretrained
    assert not create_model("3d", pretrained=True).pretrained


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (("4d",), ConfigError, "'4d' is neither '2d' nor '3d'"),
        (("2d", "simple"), ConfigError, "simple is 3d, the data are 2d"),
        (("3d", "resnet18"), ConfigError, "model_dim='2d', or backbone='simple', which is 3d"),
        (("2d", 18), ConfigError, r"create_model\(backbone=...\) takes a name, found an int"),
        (("2d", None, "4"), ConfigError, r"num_classes=...\) takes a whole number, found a str"),
        (("2d", None, 4, "imagenet"), ConfigError, "takes True or False, found a str"),
        (("2d", "resnet_18"), UnknownNameError, "did you mean 'resnet18'"),
        (("2d", None, 1), ConfigError, "2 classes or more"),
        (("2d", None, 4, False, "tpu"), ConfigError, "unknown device 'tpu'"),
    ],
)
def test_wrong_arguments(arguments, error, says):
    with pytest.raises(error, match=says):
        create_model(*arguments)


@pytest.fixture(scope="module")
def given(request):
    """A model and the loaders that it fits."""
    folder = request.getfixturevalue("processed_2d")
    model = src.create_model("2d", pretrained=False)
    return model, *src.create_data_loaders(folder, batch_size=8)


@pytest.mark.parametrize(
    ("call", "says", "fix"),
    [
        (
            lambda model, train, test: src.Trainer(model, train, config={"lr": 1e-3}),
            "Trainer(config=...) takes a TrainConfig, found a dict",
            "config=TrainConfig(lr=0.001, epochs=10)",
        ),
        (
            lambda model, train, test: src.Trainer(model, train, config=RunConfig()),
            "takes a TrainConfig, found a RunConfig",
            "config=config.train",
        ),
        (
            lambda model, train, test: src.Trainer("resnet18", train),
            "Trainer(model=...) takes a network, found a str",
            "create_model(model_dim='2d', backbone='resnet18')",
        ),
        (
            lambda model, train, test: src.Trainer(model, (train, test)),
            "a loader takes what create_data_loaders returns, found a tuple",
            "give one of the 2",
        ),
        (
            lambda model, train, test: src.Trainer(model, train, device="gpu"),
            "unknown device 'gpu'",
            "choose cpu, or a GPU by cuda",
        ),
        (
            lambda model, train, test: src.Trainer(model, train, device="cpu").train(num_epochs=0),
            "train(num_epochs=0) trains nothing",
            "num_epochs=10, or leave it out",
        ),
        (
            lambda model, train, test: src.Trainer(model, train, device="cpu").train(1.5),
            "train(num_epochs=...) takes a whole number or None, found a float",
            "num_epochs=10",
        ),
        (
            lambda model, train, test: src.Evaluator("model.pth", test),
            "Evaluator(model=...) takes a network, found a str",
            "model = create_model(model_dim='2d')",
        ),
        (
            lambda model, train, test: src.Evaluator(model, test, "cpu", n_bootstrap=0),
            "Evaluator(n_bootstrap=0) is under 100",
            "n_bootstrap=2000",
        ),
        (
            lambda model, train, test: src.GradCAM(model, "features.8"),
            "GradCAM(target_layer=...) takes a layer, found a str",
            "get_target_layer(model)",
        ),
        (
            lambda model, train, test: src.GradCAM(model, src.get_target_layer(model), "gpu"),
            "unknown device 'gpu'",
            "choose cpu",
        ),
        (
            lambda model, train, test: src.GradCAM(model, src.get_target_layer(model)).generate_cam(
                np.zeros((1, 64, 64), np.float32)
            ),
            "generate_cam(x) takes a tensor, found a ndarray",
            "torch.from_numpy(image)",
        ),
        (
            lambda model, train, test: src.get_target_layer("resnet18"),
            "get_target_layer(model) takes a network, found a str",
            "model = create_model",
        ),
        (lambda *_: TrainConfig(learning_rate=1e-3), "'learning_rate'", "did you mean 'lr'?"),
        (lambda *_: TrainConfig(epochs="3"), "setting 'epochs': '3' is no int", "in Python"),
        (lambda *_: TrainConfig(precision="half"), "none of auto, fp32, bf16", "in Python"),
        (lambda *_: TrainConfig(epochs=0), "--epochs 0 is not in 1", "(in Python: epochs=)"),
        (
            lambda *_: RunConfig(train={"lr": 1e-3}),
            "RunConfig(train=...) takes a TrainConfig, found a dict",
            "train=TrainConfig(...)",
        ),
    ],
)
def test_natural_mistakes_get_a_sentence_in_the_words_of_python(given, call, says, fix):
    with pytest.raises(ConfigError) as caught:
        call(*given)
    assert says in caught.value.message
    assert fix in caught.value.hint


def test_whole_numbers_are_taken_for_fractions_and_text_for_paths():
    config = TrainConfig(lr=1, weight_decay=0, epochs=np.int64(3))
    assert [type(v) for v in (config.lr, config.weight_decay, config.epochs)] == [float, float, int]
    assert RunConfig(results_dir="there").results_dir == Path("there")


@pytest.mark.parametrize(
    ("named", "error", "says", "fix"),
    [
        ({"dataset_type": "oasis"}, ConfigError, "was made from phantom", "='phantom', or leave"),
        ({"dataset_type": "fantom"}, UnknownNameError, "unknown dataset_type", "'phantom'"),
        ({"dataset_type": ""}, UnknownNameError, "unknown dataset_type: ''", "choose one of"),
        ({"model_dim": "3d"}, ConfigError, "holds 2d images, not 3d", "2d"),
        ({"model_dim": 2}, ConfigError, "model_dim 2 is neither", "model_dim='2d' for slices"),
        ({"batch_size": "8"}, ConfigError, "takes a whole number or None", "batch_size=4"),
        ({"num_workers": -1}, ConfigError, "num_workers -1 is negative", "num_workers=0"),
        ({"splits": "train"}, ConfigError, "takes a tuple of names, found a str", "splits=("),
        ({"splits": ("valid",)}, UnknownNameError, "unknown split: 'valid'", "'val'"),
        ({"min_age": "60"}, ConfigError, "takes a number of years, found a str", "min_age=60"),
        ({"num_classes": 5}, ConfigError, "no scheme of 5 classes", "ask for 4, 3 or 2"),
        ({"num_classes": "4"}, ConfigError, "no scheme of '4' classes", "ask for 4, 3 or 2"),
    ],
)
def test_wrong_arguments_of_loaders(processed_2d, named, error, says, fix):
    with pytest.raises(error) as caught:
        src.create_data_loaders(processed_2d, **named)
    assert says in caught.value.message
    assert fix in caught.value.hint


def test_loaders_take_the_cohort_from_the_data_and_the_folder_as_text(processed_2d, tmp_path):
    train, test = src.create_data_loaders(str(processed_2d), cache_dir=str(tmp_path / "cache"))
    assert train.dataset.settings["cohort"] == "phantom"
    assert len(next(iter(test))[0])


def test_weights_that_are_no_file():
    with pytest.raises(CheckpointError, match="neither imagenet, none nor a file"):
        create_model("2d", weights="imagnet")


def test_a_frozen_backbone_trains_the_head_only():
    model = create_model("3d", freeze_backbone=True)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"head.weight", "head.bias"}


@pytest.mark.parametrize(
    ("gpu", "asked", "expected"), [(False, None, 0), (True, None, 8), (True, 0, 0)]
)
def test_readers_run_beside_a_gpu_only(monkeypatch, gpu, asked, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr("src.data.loaders.usable_cores", lambda: 32)
    assert reader_workers(asked) == expected


def test_the_folder_named_wins_over_the_data_root(processed_2d):
    config = build_config(RunConfig, {"dataset": "phantom_2d", "data_dir": processed_2d})
    assert open_run_data(config).manifest.root == processed_2d
    assert open_run_data(config, classes=2, min_age=70).rows["age"].min() >= 70


def test_training_for_no_epochs_is_refused():
    with pytest.raises(ConfigError, match="--epochs 0"):
        TrainConfig(epochs=0)


def _readers():
    """Return every public function whose name says that it reads, lists or writes at a path."""
    verbs = r"(load|save|read|open|list|index|find|audit_folder|compare_runs|build_report|gather)"
    found = []
    for file in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and re.match(verbs + r"(_|$)", node.name):
                hints = {
                    one.arg: ast.unparse(one.annotation)
                    for one in [*node.args.args, *node.args.kwonlyargs]
                    if one.annotation and re.match("Path|str [|] Path", ast.unparse(one.annotation))
                }
                if hints:
                    found.append((f"{file.stem}.{node.name}", hints))
    return found


#: Called by one place each, which has a Path.
INNER = {
    *("cross_validation.read", "files.read_pictures", "state.save"),
    *("bids_tables.read_participants", "bids_tables.read_sessions"),
}


@pytest.mark.slow
def test_public_readers_take_a_path_as_text():
    readers = _readers()
    assert len(readers) > 35
    wrong = {
        name: hints
        for name, hints in readers
        if name not in INNER and not all(hint.startswith("str | Path") for hint in hints.values())
    }
    assert wrong == {}


@pytest.mark.parametrize(
    "call",
    [
        lambda gone: load_checkpoint(gone),
        lambda gone: load_trained(gone),
        lambda gone: read_run(gone, "run"),
        lambda gone: audit_folder(gone, "2d"),
        lambda gone: build_report(gone),
        lambda gone: Manifest.read(gone),
        lambda gone: open_dataset(gone, "2d", class_scheme(4)),
        lambda gone: read_atlas(gone, gone),
        lambda gone: find_inputs(gone),
        lambda gone: next(compare_runs([gone, "b"], "out")),
        lambda gone: index_oasis(gone),
        lambda gone: src.create_data_loaders(gone),
    ],
)
def test_a_missing_path_given_as_text_is_named(tmp_path, call):
    gone = str(tmp_path / "gone")
    with pytest.raises(MriError, match=re.escape(gone)):
        call(gone)


def test_a_raw_folder_given_to_loaders_names_the_command_that_preprocesses_it(tmp_path):
    folder = tmp_path / "mine"
    (folder / "disc1").mkdir(parents=True)
    (folder / "disc1" / "OAS1_0001_MR1_mpr_n4_anon_111_t88_masked_gfc.img").touch()
    with pytest.raises(DataNotFoundError) as caught:
        src.create_data_loaders(str(folder), model_dim="3d")
    command = f"python main.py --mode preprocess --dataset oasis --dim 3d --data_dir {folder}"
    assert caught.value.hint == f"{command}, then open {Path('data/oasis_3d')}"
