"""Recomputed activations change nothing but memory; running out of it gives a sentence."""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from src.errors import ConfigError, MriError
from src.models.classifier import Classifier
from src.models.create import create_model
from src.models.device import make_accelerator
from src.training.logits import place
from src.training.memory import out_of_memory, recompute_activations

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
NAMES = ["simple", "resnet", "resnet_small"]


def make(name: str, **settings) -> Classifier:
    torch.manual_seed(0)
    return place(create_model("3d", name, 3, **settings), CPU).train()


def volumes(count: int = 3) -> torch.Tensor:
    return torch.rand(count, 1, 24, 33, 28, generator=torch.Generator().manual_seed(2))


def two_steps(model: nn.Module, precision: str = "no") -> list[float]:
    """Return the losses of two steps with dropout; leave the second's gradients."""
    accelerator = make_accelerator(CPU, precision)
    losses = []
    torch.manual_seed(1)
    for _ in range(2):
        model.zero_grad()
        with accelerator.autocast():
            logits = model(volumes())
        loss = functional.cross_entropy(logits.float(), torch.tensor([0, 2, 1]))
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 1e-3 * parameter.grad
        losses.append(loss.item())
    return losses


@pytest.mark.slow
@pytest.mark.parametrize(  # no bf16 for sfcn: where a processor must emulate it, a minute
    ("name", "precision"), [*product(NAMES, ["no", "bf16"]), ("sfcn", "no")]
)
def test_losses_gradients_and_running_statistics_are_the_same_bits(name, precision):
    kept, forgotten = make(name, dropout=0.5), make(name, dropout=0.5)
    recompute_activations(forgotten)
    assert two_steps(forgotten, precision) == two_steps(kept, precision)
    for mine, theirs in zip(forgotten.parameters(), kept.parameters(), strict=True):
        assert torch.equal(mine.grad, theirs.grad)
    expected = kept.state_dict()
    assert list(forgotten.state_dict()) == list(expected)
    assert all(torch.equal(value, expected[key]) for key, value in forgotten.state_dict().items())
    counts = [value for key, value in expected.items() if key.endswith("num_batches_tracked")]
    assert counts
    assert set(map(int, counts)) == {2}


class Doubtful(nn.Module):
    """Draws random numbers within a unit, as dropout between convolutions would."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.drop = inner, nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(self.inner(x))


def test_random_numbers_within_a_unit_are_drawn_once():
    kept, forgotten = make("simple"), make("simple")
    for model in (kept, forgotten):
        model.features.unit2 = Doubtful(model.features.unit2)
    recompute_activations(forgotten)
    assert two_steps(forgotten) == two_steps(kept)
    after = torch.rand(1)
    two_steps(kept)
    assert torch.equal(torch.rand(1), after)


def held(model: nn.Module) -> int:
    """Return the bytes that one forward pass keeps for the way back."""
    sizes = {}

    def pack(tensor):
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(volumes()).sum()
    return sum(sizes.values())


@pytest.mark.parametrize(("name", "share"), [("simple", 0.65), ("resnet", 0.45)])
def test_less_is_kept(name, share):
    kept, forgotten = make(name), make(name)
    recompute_activations(forgotten)
    weights = sum(parameter.nbytes for parameter in kept.parameters())
    assert held(forgotten) - weights < share * (held(kept) - weights)


def test_each_block_of_a_residual_network_forgets_by_itself():
    model = make("resnet")
    recompute_activations(model)
    changed = [name for name, one in model.features.named_modules() if "forward" in vars(one)]
    blocks = [
        f"layer{stage}.{n}" for stage, count in enumerate((2, 2, 3, 2), 1) for n in range(count)
    ]
    assert changed == ["stem", *blocks]


def test_nothing_is_computed_twice_without_gradients():
    model = make("simple")
    recompute_activations(model)
    calls = []
    model.features.unit1[0].register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        model(volumes())
    model.eval()
    model(volumes()).sum().backward()
    assert len(calls) == 2
    model.train()
    model(volumes()).sum().backward()
    assert len(calls) == 4


def test_a_copy_runs_its_own_weights():
    model = make("simple", dropout=0)
    recompute_activations(model)
    copied = deepcopy(model)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
    assert copied(volumes()).abs().max() == 0
    assert model.eval()(volumes()).abs().max() > 0


def test_slices_and_frozen_backbones_are_refused():
    with pytest.raises(ConfigError, match="no use in 2d"):
        recompute_activations(create_model("2d", "resnet18", 2, weights="none"))
    frozen = create_model("3d", "simple", 2, freeze_backbone=True)
    with pytest.raises(ConfigError, match="frozen"):
        recompute_activations(frozen)


CUDA = "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 8 GiB"
HOST = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1048576 bytes."


@pytest.mark.parametrize(
    ("error", "settings", "said"),
    [
        (
            torch.OutOfMemoryError(CUDA),
            {"batch_size": 4, "dim": "3d"},
            "out of memory, training on 4 volumes at once: 2560 MiB more could not be had\n"
            "  fix: --accumulate 2 computes the same batch in 2 parts, or --batch_size 2",
        ),
        (
            RuntimeError(HOST),
            {"batch_size": 33, "accumulate": 2},
            "out of memory, training on 17 slices at once: 1 MiB more could not be had\n"
            "  fix: --accumulate 4 computes the same batch in 4 parts, or --batch_size 16",
        ),
        (
            RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
            {"batch_size": 4, "dim": "3d", "accumulate": 4},
            "out of memory, training on 1 volume at once\n"
            "  fix: --precision bf16 takes half of it, or --activation_checkpointing takes a "
            "little less, and more time, or preprocess with a smaller --volume_size",
        ),
        (
            MemoryError(),
            {"batch_size": 1, "dim": "3d", "recomputed": True, "half": True},
            "out of memory, training on 1 volume at once\n"
            "  fix: preprocess with a smaller --volume_size",
        ),
        (
            torch.OutOfMemoryError("CUDA out of memory."),
            {"batch_size": 32, "training": False},
            "out of memory, running the network on 32 slices at once\n"
            "  fix: --batch_size 16, or end other programs that use the memory",
        ),
    ],
)
def test_the_sentence_names_the_flag_to_try(error, settings, said):
    with pytest.raises(MriError) as caught, out_of_memory(**settings):
        raise error
    assert str(caught.value) == said


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2 shapes"), ValueError("x"), KeyError(1)]
)
def test_other_errors_pass(error):
    with pytest.raises(type(error)) as caught, out_of_memory(4):
        raise error
    assert caught.value is error


def test_numpy_says_how_much_it_wanted():
    with pytest.raises(MriError, match="1073741824 MiB more"), out_of_memory(4):
        np.empty(2**50, np.uint8)


PROGRAM = """
import resource, sys
import torch
from src.models.create import create_model
from src.errors import MriError
from src.training.memory import out_of_memory
torch.set_num_threads(1)
model = create_model("3d", "simple", 2)
model(torch.rand(2, 1, 24, 24, 24)).sum().backward()  # libraries and threads are there
pages = int(open("/proc/self/statm", encoding="utf-8").read().split()[0])
limit = pages * resource.getpagesize() + 200 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    with out_of_memory(4, dim="3d"):
        model(torch.rand(4, 1, 160, 160, 160)).sum().backward()
except MriError as error:
    print(error)
    sys.exit(2)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit is read from /proc")
def test_a_real_failure_of_the_processor_is_understood():
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode == 2, done.stderr
    assert "training on 4 volumes at once" in done.stdout
    assert "--accumulate 2" in done.stdout
