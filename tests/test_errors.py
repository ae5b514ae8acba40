"""Errors: what a person reads, and what a caller can catch."""

import pytest

from src import errors
from src.errors import DataNotFoundError, MriError, UnknownNameError


@pytest.mark.parametrize(
    ("kind", "also"),
    [
        (errors.ConfigError, ValueError),
        (errors.UnknownNameError, errors.ConfigError),
        (errors.DataNotFoundError, FileNotFoundError),
        (errors.ManifestError, ValueError),
        (errors.LeakageError, errors.ManifestError),
        (errors.ImageError, ValueError),
        (errors.CheckpointError, RuntimeError),
    ],
)
def test_every_kind_is_an_mri_error_and_a_builtin_one(kind, also):
    assert issubclass(kind, MriError)
    assert issubclass(kind, also)


def test_the_hint_stands_on_its_own_line():
    assert str(MriError("no scan", hint="add one")) == "no scan\n  fix: add one"


def test_without_a_hint_there_is_no_fix_line():
    assert str(MriError("no scan")) == "no scan"


def test_a_near_name_is_proposed():
    error = UnknownNameError("backbone", "resnet_18", ["simple", "resnet18"])
    assert error.hint == "did you mean 'resnet18'?"
    assert "known: resnet18, simple" in error.message


def test_a_far_name_lists_all():
    assert UnknownNameError("cohort", "xyz", ["b", "a"]).hint == "choose one of: a, b"


def test_a_missing_file_is_named(tmp_path):
    error = DataNotFoundError(tmp_path / "gone.csv", hint="make it")
    assert str(error) == f"not found: {tmp_path / 'gone.csv'}\n  fix: make it"
