"""Automatic choices and their reasons; seeds that repeat."""

import random

import numpy as np
import pytest
import torch

from src.errors import ConfigError
from src.models import device
from src.models.device import choose_device, choose_precision, make_accelerator, seed_everything
from src.runtime import Place


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "H100")


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def test_without_a_gpu_the_cpu_is_chosen(no_gpu):
    found, reason = choose_device()
    assert found.type == "cpu"
    assert "no GPU found" in reason


def test_the_gpu_is_chosen_and_named(two_gpus):
    assert choose_device() == (torch.device("cuda"), "found H100")


def test_apples_gpu_is_second_choice(no_gpu, monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device()[0].type == "mps"


def test_what_is_asked_for_is_taken(two_gpus):
    assert choose_device("cpu") == (torch.device("cpu"), "asked for")
    assert choose_device("cuda:1") == (torch.device("cuda:1"), "asked for")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:-1"])
def test_an_unknown_name(name):
    with pytest.raises(ConfigError, match="unknown device"):
        choose_device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps", "meta"])
def test_a_device_that_is_not_there(no_gpu, name):
    with pytest.raises(ConfigError, match="not available on this machine") as caught:
        choose_device(name)
    assert caught.value.hint == "choose cpu, or leave the device out for the best there is"


def test_a_gpu_too_many(two_gpus):
    with pytest.raises(ConfigError, match="'cuda:2' is not available"):
        choose_device("cuda:2")


@pytest.mark.parametrize(
    ("asked", "unit", "expected", "says"),
    [
        ("fp32", "avx512_bf16", "no", "asked for"),
        ("bf16", "avx2", "bf16", "asked for"),
        ("auto", "avx512_bf16", "bf16", "this processor computes it natively, with avx512_bf16"),
        ("auto", "amx_bf16", "bf16", "this processor computes it natively, with amx_bf16"),
        ("auto", "avx2", "no", "bf16 is not faster on this cpu"),
    ],
)
def test_precision_on_a_cpu(monkeypatch, asked, unit, expected, says):
    able = {"avx512_bf16": False, "amx_bf16": False, unit: True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    assert choose_precision(asked, torch.device("cpu")) == (expected, says)


def test_a_torch_that_does_not_know_the_processor_computes_fp32_and_says_why(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    choice, why = choose_precision("auto", torch.device("cpu"))
    assert choice == "no"
    assert why == f"torch {torch.__version__} does not tell what this processor can"


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16"), (False, "no")])
def test_precision_on_a_gpu_is_bf16_only_where_it_is_native(monkeypatch, native, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert choose_precision("auto", torch.device("cuda"))[0] == expected


def test_the_accelerator_is_on_the_device_asked_for():
    for precision in ("bf16", "no"):  # a second one in the same process has its own settings
        accelerator = make_accelerator(torch.device("cpu"), precision)
        assert accelerator.device.type == "cpu"
        assert accelerator.mixed_precision == precision


def in_job(monkeypatch, *place):
    monkeypatch.setattr(device, "place_in_job", lambda: Place(*place))


@pytest.mark.parametrize("name", [None, "cuda"])
def test_each_process_has_the_gpu_of_its_number_on_the_machine(two_gpus, monkeypatch, name):
    in_job(monkeypatch, 5, 6, 1, 2)
    found, reason = choose_device(name)
    assert found == torch.device("cuda:1")
    assert reason.endswith("; 6 processes")


def test_processes_share_a_cpu(no_gpu, monkeypatch):
    in_job(monkeypatch, 1, 2, 1, 2)
    assert choose_device("cpu") == (torch.device("cpu"), "asked for; 2 processes")


def test_one_gpu_for_several_processes_is_refused(two_gpus, monkeypatch):
    in_job(monkeypatch, 0, 2, 0, 2)
    with pytest.raises(ConfigError, match="--device cuda:1 is one GPU, and there are 2 processes"):
        choose_device("cuda:1")


def test_more_processes_than_gpus_are_refused(two_gpus, monkeypatch):
    in_job(monkeypatch, 0, 3, 0, 3)
    with pytest.raises(ConfigError, match="3 processes on a machine with 2 GPUs") as caught:
        choose_device()
    assert "--nproc_per_node 2" in caught.value.hint


def test_apples_gpu_is_not_shared(no_gpu, monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    in_job(monkeypatch, 0, 2, 0, 2)
    with pytest.raises(ConfigError, match="cannot share mps"):
        choose_device()


def draws(*parts):
    own = seed_everything(*parts)
    everywhere = (random.random(), np.random.rand(), torch.rand(1).item())  # noqa: NPY002
    return (*everywhere, torch.rand(1, generator=own).item())


def test_the_same_seed_and_epoch_repeat_every_source_of_chance():
    assert draws(3, 1) == draws(3, 1)


@pytest.mark.parametrize("other", [(3, 2), (4, 1), (1, 3)])
def test_another_seed_or_epoch_changes_every_source_of_chance(other):
    assert not set(draws(3, 1)) & set(draws(*other))
