"""Checkpoints: what is read, what is refused, and that nothing in them is ever run."""

import importlib.metadata
import pickle
import zipfile

import numpy as np
import pytest
import torch

from src.cohorts.people_names import hash_subjects
from src.errors import CheckpointError
from src.models.checkpoint import (
    load_checkpoint,
    load_tensors,
    load_weights,
    save_checkpoint,
)


def content(**changed):
    plain = {
        "model": {"head.weight": torch.arange(6.0).reshape(2, 3)},
        "config": {"train": {"epochs": 1}},
        "preprocessing": {"dim": "2d"},
        "classes": ["NonDemented", "Demented"],
        "backbone": "simple",
        "dim": "3d",
        "dataset": "oasis_3d",
        "subjects": hash_subjects(["OAS1_0001"]),
        "ordinal": False,
        "train_counts": [3, 2],
        "epoch": 3,
        "calibration": {},
        "conformal": {},
        "validation": {"labels": [], "logits": []},
    }
    return plain | changed


def test_what_is_saved_is_loaded_with_its_versions(tmp_path):
    loaded = load_checkpoint(save_checkpoint(tmp_path / "a" / "best.pth", content()))
    assert torch.equal(loaded.pop("model")["head.weight"], content()["model"]["head.weight"])
    assert loaded.pop("versions")["torch"] == importlib.metadata.version("torch")
    assert loaded.pop("format") == 2
    assert loaded == {name: value for name, value in content().items() if name != "model"}


class Payload:
    """Creates a file when it is unpickled by a reader that runs what it reads."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_pickled_code_is_refused_and_never_run(tmp_path, how):
    proof, path = tmp_path / "executed", tmp_path / "bad.pth"
    attack = content(config=Payload(proof))
    if how == "torch":
        torch.save(attack, path)
    else:
        path.write_bytes(pickle.dumps(attack, protocol=2))
    with pytest.raises(CheckpointError, match="pickled code, which is never run"):
        load_checkpoint(path)
    assert not proof.exists()


def test_the_payload_would_run_elsewhere(tmp_path):
    proof = tmp_path / "executed"
    pickle.loads(pickle.dumps(Payload(proof))).close()
    assert proof.exists()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file(tmp_path, share):
    path = save_checkpoint(tmp_path / "best.pth", content())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match=r"best\.pth is (truncated or no checkpoint|damaged)"):
        load_checkpoint(path)


def test_any_bit_that_changed_is_found(tmp_path):
    path = save_checkpoint(tmp_path / "best.pth", content())
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    last = range(8 * (len(whole) - 105), 8 * len(whole), 3)  # the archive's end, and the seal
    for bit in [*rng.integers(0, 8 * len(whole), 700).tolist(), *last]:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(
            CheckpointError, match=r"best\.pth is damaged: .*\n  fix: copy the file"
        ):
            load_checkpoint(path)
    path.write_bytes(whole)
    load_checkpoint(path)


def test_a_file_of_an_earlier_version_has_no_hash_and_is_read(tmp_path):
    torch.save({"format": 2, **content()}, tmp_path / "old.pth")
    assert load_checkpoint(tmp_path / "old.pth")["backbone"] == "simple"


def test_other_programs_read_a_sealed_file(tmp_path):
    path = save_checkpoint(tmp_path / "best.pth", content())
    assert torch.load(path, weights_only=True)["classes"] == ["NonDemented", "Demented"]
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.comment.startswith(b"mri-ad blake2b-256 ")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_no_damage_of_one_byte_escapes_as_another_error(tmp_path):
    path = tmp_path / "old.pth"
    torch.save({"a": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    for place in range(0, len(whole), 2):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(CheckpointError):
            load_checkpoint(path)


@pytest.mark.parametrize("junk", [b"not a checkpoint", b"\x89PNG\r\n\x1a\n", b"PK\x03\x04"])
def test_a_file_of_another_kind(tmp_path, junk):
    path = tmp_path / "best.pth"
    path.write_bytes(junk)
    with pytest.raises(CheckpointError, match="truncated or no checkpoint") as caught:
        load_checkpoint(path)
    assert "weights_only" not in str(caught.value)  # torch's text proposes to run the file


def test_a_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match="no such weight file") as caught:
        load_tensors(tmp_path / "gone.pth")
    assert caught.value.hint == "python main.py --mode train"


def test_something_other_than_a_dictionary(tmp_path):
    torch.save([torch.ones(2)], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="holds a list, not a dictionary"):
        load_checkpoint(tmp_path / "list.pth")


def test_bare_weights_are_no_checkpoint(tmp_path):
    torch.save({"head.weight": torch.ones(2)}, tmp_path / "bare.pth")
    with pytest.raises(CheckpointError, match=r"model, config, .* missing") as caught:
        load_checkpoint(tmp_path / "bare.pth")
    assert "--weights" in caught.value.hint


def test_one_missing_key_is_named(tmp_path):
    short = content()
    del short["subjects"]
    with pytest.raises(CheckpointError, match="subjects missing"):
        load_checkpoint(save_checkpoint(tmp_path / "x.pth", short))


@pytest.mark.parametrize(
    ("key", "value"),
    [("model", [1]), ("config", "x"), ("classes", 4), ("subjects", {}), ("dim", 3)],
)
def test_a_key_of_another_kind_is_named(tmp_path, key, value):
    path = save_checkpoint(tmp_path / "x.pth", content(**{key: value}))
    with pytest.raises(CheckpointError, match=f"'{key}' is no"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("card", "says"),
    [
        ([], "it is no object"),
        ({"people": ["OAS1_0061"]}, "'OAS1_0061', not a hash"),
        ({"seen": []}, "'seen' is none of"),
        ({"normalisation": {"mean": 0.2, "std": -1}}, "std is not above 0"),
    ],
)
def test_whom_first_weights_had_seen_is_checked(tmp_path, card, says):
    path = save_checkpoint(tmp_path / "x.pth", content(learnt_from=card))
    with pytest.raises(CheckpointError, match=f"of whom its first weights had seen, .*{says}"):
        load_checkpoint(path)
    known = {"people": hash_subjects(["OAS1_0061"]), "cohorts": ["adni"]}
    assert load_checkpoint(save_checkpoint(tmp_path / "y.pth", content(learnt_from=known)))


def test_another_format_is_refused(tmp_path):
    path = save_checkpoint(tmp_path / "x.pth", content(format=1))
    with pytest.raises(CheckpointError, match="format 1; this version reads 2"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "state",
    [
        {"weight": torch.ones(2, 3)},
        {"weight": torch.ones(2, 3), "bias": torch.ones(2), "more": torch.ones(1)},
        {"weight": torch.ones(3, 3), "bias": torch.ones(2)},
    ],
)
def test_weights_of_another_model_change_nothing(tmp_path, state):
    layer = torch.nn.Linear(3, 2)
    before = layer.weight.clone()
    with pytest.raises(CheckpointError, match="fits another model: 1 tensors differ"):
        load_weights(layer, state, tmp_path / "x.pth")
    assert torch.equal(layer.weight, before)


def test_people_are_stored_as_sorted_hashes(tmp_path):
    names = ["OAS1_0002", "OAS1_0001", "OAS1_0002"]
    hashes = hash_subjects(names)
    assert len(hashes) == 2
    assert hashes == sorted(hashes) == hash_subjects(reversed(names))
    assert not any("OAS1" in value for value in hashes)
    path = save_checkpoint(tmp_path / "x.pth", content(subjects=hashes))
    assert b"OAS1" not in path.read_bytes()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"classes": ["NonDemented", "NonDemented"]}, "two of its classes have the same name"),
        ({"classes": ["NonDemented", 5]}, "its classes are no names"),
        ({"classes": ["NonDemented"]}, "its classes are no names"),
        ({"train_counts": [3]}, "train_counts"),
        ({"train_counts": [3, -1]}, "train_counts"),
        ({"train_counts": [3, 10**400]}, "train_counts"),
        ({"subjects": [5]}, "subjects are no hashes"),
        ({"subjects": ["OAS1_0001"]}, "subjects are no hashes"),
        ({"epoch": "last"}, "epoch"),
        ({"stamps": 5}, "stamps"),
        ({"dim": "4d"}, "neither slices nor volumes"),
        ({"config": {"data": []}}, "its settings"),
        ({"preprocessing": {"preprocess": 5}}, "its preprocessing"),
        ({"model": {}}, "no dictionary of tensors"),
        ({"model": {"head.weight": [1.0]}}, "'head.weight' is no tensor"),
        ({"model": {"head.weight": torch.tensor([float("nan")])}}, "head.weight is not finite"),
    ],
)
def test_content_that_no_training_wrote_is_named(tmp_path, change, why):
    path = save_checkpoint(tmp_path / "best.pth", content(**change))
    with pytest.raises(CheckpointError, match=rf"best\.pth is damaged: .*{why}"):
        load_checkpoint(path)
