"""Device, precision and seeds: each automatic choice comes with its reason."""

from __future__ import annotations

import random

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from .errors import ConfigError
from .runtime import world_size


def choose_device(name: str | None = None) -> tuple[torch.device, str]:
    """Return the device and the reason for it.

    Args:
        name: ``cuda``, ``cuda:1``, ``mps`` or ``cpu``; None takes the best there is.

    Raises:
        ConfigError: The device asked for is unknown or not there.
    """
    if name is None:
        if torch.cuda.is_available():
            return torch.device("cuda"), f"found {torch.cuda.get_device_name()}"
        if torch.backends.mps.is_available():
            return torch.device("mps"), "found Apple's GPU"
        return torch.device("cpu"), f"no GPU found; {torch.get_num_threads()} threads"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"unknown device {name!r}", hint="--device cuda, mps or cpu") from None
    here = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    there = here.get(device.type, False)
    if device.type == "cuda" and there:
        there = (device.index or 0) < torch.cuda.device_count()
    if not there:
        raise ConfigError(f"device {name!r} is not available on this machine", hint="--device cpu")
    return device, "asked for"


def choose_precision(asked: str, device: torch.device) -> tuple[str, str]:
    """Return ``"bf16"`` or ``"no"`` (accelerate's word for fp32) and the reason.

    Args:
        asked: ``auto``, ``fp32`` or ``bf16``.
        device: Where the model runs.
    """
    if asked != "auto":
        return ("no" if asked == "fp32" else "bf16"), "asked for"
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        major, minor = torch.cuda.get_device_capability(device)
        return "bf16", f"CUDA SM {major}.{minor} computes it natively"
    return "no", f"bf16 is not faster on {device.type}"


def make_accelerator(device: torch.device, precision: str) -> Accelerator:
    """Return an Accelerator on exactly `device`.

    accelerate keeps one state per process; a notebook that trains on the GPU and then on the CPU
    would be given the first device twice, so the state is reset.

    Raises:
        ConfigError: Several processes were started; training uses one.
    """
    if world_size() > 1:
        raise ConfigError("training runs in one process", hint="start it without torchrun")
    AcceleratorState._reset_state(reset_partial_state=True)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return Accelerator(cpu=device.type == "cpu", mixed_precision=precision)


def seed_everything(*parts: int) -> torch.Generator:
    """Seed Python, NumPy and torch from `parts`; return a CPU generator seeded alike.

    Called with (seed, epoch) at the start of every epoch, so an epoch draws the same numbers
    whether or not the run was stopped before it.
    """
    value = int(np.random.SeedSequence(parts).generate_state(1)[0])
    random.seed(value)
    np.random.seed(value)  # noqa: NPY002 - libraries that draw from the global generator
    torch.manual_seed(value)
    return torch.Generator().manual_seed(value)
