"""The Trainer: learns, resumes to the same bits, chooses on validation, survives Ctrl-C."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_processed
from tiny_runs import run_config
from torch import nn

from src.config import TrainConfig
from src.data.augment import to_unit
from src.data.loaders import create_data_loaders
from src.errors import AuditFailed, CheckpointError, ConfigError, LeakageError, MriError
from src.manifest import SAME_PEOPLE, Manifest
from src.models.checkpoint import load_checkpoint, load_tensors
from src.models.create import create_model
from src.runtime import Terminated
from src.stages import train as train_module
from src.training import epoch as passes
from src.training import trainer as trainer_module
from src.training.optimisation import class_weights, make_optimizer
from src.training.state import TrainState
from src.training.trainer import Trainer

pytestmark = pytest.mark.slow

QUICK = TrainConfig(epochs=3, batch_size=8, lr=2e-3, patience=0, augment="mild")


@pytest.fixture(scope="module")
def processed_2d(tmp_path_factory):
    """Two slices a person instead of three: three whole batches of 8 for an epoch; read only."""
    return make_processed(tmp_path_factory.mktemp("train") / "phantom_2d", "2d", images=2)


def trainer(folder, *, dim="2d", config=QUICK, freeze=False, eval_split="val", seed=0, classes=2):
    loaders = create_data_loaders(
        folder, "phantom", dim, 8, splits=("train", eval_split), num_classes=classes
    )
    torch.manual_seed(seed)
    model = create_model(
        dim,
        "efficientnet_lite0" if dim == "2d" else "simple",
        classes,
        pretrained=False,
        freeze_backbone=freeze,
        ordinal=config.loss == "ordinal",
    )
    return Trainer(model, *loaders, device="cpu", config=config)


def same(first, second):
    return all(torch.equal(value, second[name]) for name, value in first.items())


def test_learns_the_planted_effect_in_3d(tmp_path):
    folder = make_processed(tmp_path / "phantom_3d", "3d", people=(24, 8, 8, 8))
    config = dataclasses.replace(QUICK, epochs=6)
    history = trainer(folder, dim="3d", config=config).train()
    assert max(history["val_balanced_accuracy"]) >= 0.9
    assert history["train_loss"][-1] < 0.7 * history["train_loss"][0]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, Terminated])
def test_resume_gives_the_same_bits_as_never_stopping(processed_2d, tmp_path, kind):
    whole = trainer(processed_2d)
    expected = whole.train(save_dir=tmp_path / "whole")

    stopped = trainer(processed_2d)
    end_epoch, calls = stopped._end_epoch, []

    def interrupt(*arguments):
        end_epoch(*arguments)
        calls.append(1)
        if len(calls) == 2:
            raise kind

    stopped._end_epoch = interrupt
    says = "2 whole epochs are kept, --resume continues"
    with pytest.raises(kind, match=says):
        stopped.train(save_dir=tmp_path / "parts")
    assert (tmp_path / "parts" / "best_model.pth").is_file()

    # Other weights before resuming must not matter.
    config = dataclasses.replace(QUICK, resume=True)
    resumed = trainer(processed_2d, config=config, seed=7)
    history = resumed.train(save_dir=tmp_path / "parts")
    assert history == expected
    assert len(history["epoch"]) == 3
    assert same(whole.model.head.state_dict(), resumed.model.head.state_dict())
    files = [load_checkpoint(tmp_path / part / "best_model.pth") for part in ("whole", "parts")]
    assert files[0]["epoch"] == files[1]["epoch"]
    assert same(files[0]["model"], files[1]["model"])


def test_resume_refuses_other_settings_and_nothing(processed_2d, tmp_path):
    resume = dataclasses.replace(QUICK, resume=True, epochs=1)
    with pytest.raises(CheckpointError, match="nothing to resume"):
        trainer(processed_2d, config=resume).train(save_dir=tmp_path / "none")
    trainer(processed_2d, config=dataclasses.replace(QUICK, epochs=1)).train(save_dir=tmp_path)
    with pytest.raises(CheckpointError, match="other settings: lr"):
        trainer(processed_2d, config=dataclasses.replace(resume, lr=1e-4)).train(save_dir=tmp_path)


def test_a_resumed_run_is_augmented_as_it_was(processed_2d, tmp_path):
    quick = dataclasses.replace(QUICK, epochs=1)
    trainer(processed_2d, config=quick).train(save_dir=tmp_path)
    for other in ("scanner", "none"):
        changed = dataclasses.replace(quick, resume=True, augment=other)
        with pytest.raises(CheckpointError, match="other settings: augment"):
            trainer(processed_2d, config=changed).train(save_dir=tmp_path)
    # Versions before there was a choice kept True.
    assert load_tensors(tmp_path / "last.pth")["identity"]["augment"] is True


@pytest.mark.parametrize(("name", "draws"), [("none", False), ("mild", False), ("scanner", True)])
def test_augment_says_how_images_are_varied(processed_2d, tmp_path, monkeypatch, name, draws):
    seen = []
    monkeypatch.setattr(
        passes, "augment", lambda images, _, how, **rest: seen.append(how) or to_unit(images)
    )
    settings = dataclasses.replace(QUICK, epochs=1, augment=name)
    trainer(processed_2d, config=settings).train(save_dir=tmp_path)
    assert bool(seen) == (name != "none")
    assert all((how.scanner is not None) == draws for how in seen)
    assert load_checkpoint(tmp_path / "best_model.pth")["config"]["train"]["augment"] == name


def test_a_frozen_backbone_refuses_changes_that_it_never_sees(processed_2d):
    with pytest.raises(ConfigError, match="augment scanner has no use"):
        trainer(processed_2d, freeze=True, config=dataclasses.replace(QUICK, augment="scanner"))


@pytest.mark.parametrize("name", ["compile", "activation_checkpointing"])
def test_settings_that_change_no_result_do_not_bind_a_resumed_run(processed_3d, name):
    one, other = (
        trainer(processed_3d, dim="3d", config=dataclasses.replace(QUICK, **{name: on}))
        for on in (False, True)
    )
    assert one._identity(3) == other._identity(3)
    parts = trainer(processed_3d, dim="3d", config=dataclasses.replace(QUICK, accumulate=2))
    assert one._identity(3) != parts._identity(3)  # batch norm sees a part at a time


def test_activation_checkpointing_gives_the_same_bits(processed_3d):
    config = dataclasses.replace(QUICK, epochs=2)
    kept = trainer(processed_3d, dim="3d", config=config).train()
    less = dataclasses.replace(config, activation_checkpointing=True)
    assert trainer(processed_3d, dim="3d", config=less).train() == kept


def test_a_compiler_that_fails_is_a_sentence():
    from torch._dynamo.exc import TorchDynamoException

    with (
        pytest.raises(ConfigError, match="--compile failed: No working C"),
        passes.compiling(True),
    ):
        raise TorchDynamoException("No working C++ compiler\nand more")
    with pytest.raises(RuntimeError, match="shapes"), passes.compiling(True):
        raise RuntimeError("shapes differ")


def test_compile_compiles_the_network(processed_2d, monkeypatch):
    compiled = []
    one = trainer(processed_2d, config=dataclasses.replace(QUICK, epochs=1, compile=True))
    monkeypatch.setattr(one.model, "compile", lambda **how: compiled.append(how))
    one.train()
    # Random numbers of the uncompiled network: the flag changes no result.
    assert compiled == [{"options": {"fallback_random": True}}]


def test_out_of_memory_is_a_sentence(processed_2d, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    one = trainer(processed_2d)
    monkeypatch.setattr(one.model, "forward", full)
    with pytest.raises(MriError, match="out of memory, training on 8 slices") as caught:
        one.train()
    assert "--accumulate 2" in caught.value.hint


def test_a_test_loader_chooses_nothing_and_is_opened_once(processed_2d, monkeypatch):
    opened = []
    predict = trainer_module.predict

    def counting(model, data, *arguments):
        opened.append(data.split)
        return predict(model, data, *arguments)

    monkeypatch.setattr(trainer_module, "predict", counting)
    with_test = trainer(processed_2d, eval_split="test").train(2)
    assert opened == ["test"]
    with_val = trainer(processed_2d, eval_split="val").train(2)
    assert with_test.pop("test")["n_people"] == 4
    assert with_test == with_val


def test_best_epoch_is_the_first_of_highest_score_then_lowest_loss():
    net = nn.Linear(2, 1)
    state = TrainState(net, *make_optimizer(net, "head", QUICK, 3, 1))
    rows = [(0.5, 1.0), (0.8, 0.9), (0.8, 0.7), (0.8, 0.7), (0.6, 0.1)]
    marks = []
    for epoch, (score, loss) in enumerate(rows, 1):
        net.bias.data.fill_(epoch)
        row = {"epoch": epoch, "lr": 0.1, "train_loss": 1, "val_accuracy": score}
        marks.append(state.record(row | {"val_balanced_accuracy": score, "val_loss": loss}))
    assert marks == [True, True, True, False, False]
    assert state.history["best_epoch"] == 3
    assert state.waited() == 2
    state.restore_best()
    assert net.bias.item() == 3


def test_early_stopping(processed_2d):
    config = dataclasses.replace(QUICK, epochs=9, patience=2, lr=1e-30, augment="none")
    one = trainer(processed_2d, config=config)
    for module in one.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0  # statistics that move on would change the loss without a step
    history = one.train()
    assert (history["best_epoch"], len(history["epoch"])) == (1, 3)


def test_the_model_ends_with_the_weights_of_its_best_epoch(processed_2d, tmp_path):
    one = trainer(processed_2d)
    one.train(save_dir=tmp_path)
    saved = load_checkpoint(tmp_path / "best_model.pth")
    assert same(saved["model"], one.model.state_dict())
    assert not one.model.training


def test_the_checkpoint_tells_all_and_names_nobody(processed_2d, tmp_path):
    trainer(processed_2d, config=dataclasses.replace(QUICK, epochs=1)).train(save_dir=tmp_path)
    content = load_checkpoint(tmp_path / "best_model.pth")
    assert content["classes"] == ["NonDemented", "Demented"]
    assert content["backbone"] == "efficientnet_lite0"
    assert content["dataset"] == "phantom_2d"
    assert content["preprocessing"]["preprocess"] == {"slice_axis": "axial"}
    assert content["versions"]["torch"] == torch.__version__
    assert len(content["subjects"]) == 12 + 4  # those who trained, those who chose the epoch
    assert b"PHAN_" not in (tmp_path / "best_model.pth").read_bytes()


@pytest.mark.parametrize("loss", ["ce", "focal", "ordinal"])
def test_frozen_backbone_keeps_its_weights_and_fits_the_head(tmp_path, loss):
    folder = make_processed(tmp_path / "phantom_2d", people=(12, 9, 0, 0))
    config = dataclasses.replace(QUICK, loss=loss)
    one = trainer(folder, freeze=True, config=config)
    before = {name: value.clone() for name, value in one.model.state_dict().items()}
    history = one.train(save_dir=tmp_path / "run")
    after = one.model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before if "head" not in name)
    changed = [name for name in before if "head" in name and not same({name: before[name]}, after)]
    assert changed
    assert history["best_strength"] == history["strength"][int(np.argmin(history["val_loss"]))]
    looked_at = {*one.train_data.subjects, *one.val_data.subjects}
    assert set(one.validation.subjects) == looked_at  # each left out once
    stored = load_checkpoint(tmp_path / "run" / "best_model.pth")
    assert stored["ordinal"] is (loss == "ordinal")
    assert len(stored["validation"]["labels"]) == one.validation.n_people


@pytest.mark.parametrize("loss", ["focal", "ordinal"])
def test_other_losses_learn(processed_2d, loss):
    config = dataclasses.replace(QUICK, loss=loss, epochs=6, lr=5e-4, augment="none")
    history = trainer(processed_2d, config=config).train()
    assert history["train_loss"][-1] < 0.9 * history["train_loss"][0]


def test_a_loss_that_does_not_fit_the_head_is_refused(processed_2d):
    loaders = create_data_loaders(processed_2d, "phantom", num_classes=2)
    model = create_model("2d", num_classes=2, pretrained=False, ordinal=True)
    with pytest.raises(ConfigError, match="loss ce does not fit the model's head"):
        Trainer(model, *loaders, device="cpu", config=dataclasses.replace(QUICK, loss="ce"))


def test_validation_people_calibrate_and_the_checkpoint_keeps_it(processed_2d, tmp_path):
    one = trainer(processed_2d)
    one.train(save_dir=tmp_path)
    assert one.validation.n_people == 4
    stored = load_checkpoint(tmp_path / "best_model.pth")
    assert stored["calibration"] == one.model.calibration.to_dict()
    assert stored["calibration"]["method"] == "none"  # four people calibrate nothing
    assert stored["conformal"] == one.model.conformal.to_dict()
    np.testing.assert_allclose(stored["validation"]["logits"], one.validation.logits, atol=1e-5)


def test_a_split_that_shares_people_is_refused_unless_told(tmp_path, caplog):
    folder = make_processed(tmp_path / "phantom_2d")
    table = Manifest.read(folder).table
    twin = table[table["split"] == "train"].iloc[:1].assign(split="test", session="MR9", slice=9)
    table = pd.concat([table, twin.assign(fingerprint="other")], ignore_index=True)
    Manifest(table, folder).write(folder)
    with pytest.raises(LeakageError, match="1 person on both sides"):
        list(train_module.run(run_config(folder, tmp_path)))
    list(train_module.run(run_config(folder, tmp_path, allow_leaks=True)))
    assert "audit" in caplog.text
    stored = load_checkpoint(tmp_path / "checkpoints" / "best_model.pth")
    assert stored["stamps"] == [SAME_PEOPLE]


def test_sessions_of_a_person_under_two_names_are_refused(tmp_path):
    folder = make_processed(tmp_path / "phantom_2d")
    table = Manifest.read(folder).table
    names = {"PHAN_0000": "OAS1_0028_MR1", "PHAN_0003": "OAS1_0028_MR2"}  # train and test
    Manifest(table.assign(subject=table["subject"].replace(names)), folder).write(folder)
    with pytest.raises(AuditFailed, match="is not honest: 1 person has one session"):
        list(train_module.run(run_config(folder, tmp_path)))
    assert not (tmp_path / "checkpoints").exists()


def test_class_weights_are_capped_and_average_one():
    counts = np.array([100, 50, 2, 0])
    weights = class_weights(counts, cap=10)
    assert weights[3] == 0
    assert weights[2] / weights[0] == pytest.approx(10)
    assert weights[1] / weights[0] == pytest.approx(2)
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1)
    np.testing.assert_allclose(class_weights(counts, cap=1)[:3], 1)


def test_schedule_warms_up_then_falls_to_zero():
    net = nn.Linear(2, 1)
    config = TrainConfig(lr=1.0, warmup_epochs=1)
    optimizer, scheduler = make_optimizer(net, "scratch", config, 5, 10)
    rates = []
    for _ in range(50):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert rates[0] < 0.2
    assert rates[:10] == sorted(rates[:10])
    assert max(rates) == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.01


def test_norms_and_biases_do_not_decay():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    optimizer, _ = make_optimizer(net, "scratch", TrainConfig(weight_decay=0.3), 1, 1)
    decays = {
        tuple(p.shape): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]
    }
    assert decays == {(2, 1, 3, 3): 0.3, (2,): 0.0}


def test_a_loss_that_is_not_finite_says_so(processed_2d):
    one = trainer(processed_2d)
    nn.init.constant_(one.model.head.weight, float("nan"))
    with pytest.raises(ConfigError, match="not finite in epoch 1"):
        one.train()


def test_classes_of_model_and_data_must_agree(processed_2d):
    loaders = create_data_loaders(processed_2d, "phantom", num_classes=3)
    with pytest.raises(ConfigError, match="4 classes, the data 3"):
        Trainer(create_model("2d", num_classes=4, pretrained=False), *loaders, device="cpu")


def test_features_of_a_frozen_backbone_are_computed_where_dask_is(
    processed_2d, tmp_path, monkeypatch
):
    asked = []

    def computed(model, data, device, *, dask=None):
        asked.append((data.split, dask))
        return np.zeros((len(data), 1280), np.float32)

    monkeypatch.setattr(train_module, "dataset_features", computed)
    frozen = {"freeze_backbone": True, "backbone": "efficientnet_lite0", "dask": "tcp://host:1"}
    list(train_module.run(run_config(processed_2d, tmp_path, **frozen)))
    assert asked == [("train", "tcp://host:1"), ("val", "tcp://host:1")]


@pytest.mark.slow
def test_a_history_that_a_kill_left_behind_is_caught_up(processed_3d, tmp_path):
    (train,) = create_data_loaders(processed_3d, "phantom", "3d", splits=("train",))
    for resume in (False, True):
        config = TrainConfig(epochs=2, resume=resume, precision="fp32")
        history = Trainer(create_model("3d", "simple"), train, None, "cpu", config=config).train(
            save_dir=tmp_path
        )
        stored = json.loads((tmp_path / "history.json").read_text(encoding="utf-8"))
        assert stored == history
        (tmp_path / "history.json").write_text("{}", encoding="utf-8")
