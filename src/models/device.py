"""Device, precision and seeds: each automatic choice comes with its reason."""

from __future__ import annotations

import logging
import random
from datetime import timedelta

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs

from ..errors import ConfigError, counted
from ..runtime import Place, place_in_job

logger = logging.getLogger(__name__)
#: A process may wait this long for another, which may be building the image cache. One that died
#: is noticed at once.
PATIENCE = timedelta(hours=2)
#: accelerate's words -> the words of everybody else.
_PRECISIONS = {"no": "float32", "bf16": "bfloat16"}
#: Processors that multiply bfloat16 natively: a step takes half the time. Others emulate it.
_BF16_UNITS = ("amx_bf16", "avx512_bf16")


def choose_device(name: str | None = None) -> tuple[torch.device, str]:
    """Return the device and the reason for it; each process of a job has a GPU of its own.

    Args:
        name: ``cuda``, ``cuda:1``, ``mps`` or ``cpu``; None takes the best there is.

    Raises:
        ConfigError: The device asked for is unknown or not there, or several processes would have
            to share it.
    """
    device, reason = _choose_alone(name)
    place = place_in_job()
    if place.count == 1:
        return device, reason
    if device.type == "cuda":
        device = _own_gpu(device, place)
    elif device.type != "cpu":
        raise ConfigError(f"{place.count} processes cannot share {device}", hint="--device cpu")
    return device, f"{reason}; {place.count} processes"


def _own_gpu(device: torch.device, place: Place) -> torch.device:
    """Return the GPU of this process, by its number on the machine."""
    if device.index is not None:
        raise ConfigError(
            f"--device {device} is one GPU, and there are {place.count} processes",
            hint="--device cuda gives each process its own",
        )
    there = torch.cuda.device_count()
    if place.local_count > there:
        raise ConfigError(
            f"{place.local_count} processes on a machine with {counted(there, 'GPU')}",
            hint=f"torchrun --nproc_per_node {there}, or --device cpu",
        )
    return torch.device("cuda", place.local_index)


def _choose_alone(name: str | None) -> tuple[torch.device, str]:
    if name is None:
        if torch.cuda.is_available():
            return torch.device("cuda"), f"found {torch.cuda.get_device_name()}"
        if torch.backends.mps.is_available():
            return torch.device("mps"), "found Apple's GPU"
        return torch.device("cpu"), f"no GPU found; {counted(torch.get_num_threads(), 'thread')}"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(
            f"unknown device {name!r}", hint="choose cpu, or a GPU by cuda (NVIDIA) or mps (Apple)"
        ) from None
    here = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    there = here.get(device.type, False)
    if device.type == "cuda" and there:
        there = (device.index or 0) < torch.cuda.device_count()
    if not there:
        raise ConfigError(
            f"device {name!r} is not available on this machine",
            hint="choose cpu, or leave the device out for the best there is",
        )
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
    if device.type == "cpu":
        tell = getattr(torch.cpu, "get_capabilities", None)  # torch 2.9 has none
        if tell is None:
            return "no", f"torch {torch.__version__} does not tell what this processor can"
        able = tell()
        for unit in _BF16_UNITS:
            if able.get(unit):
                return "bf16", f"this processor computes it natively, with {unit}"
    return "no", f"bf16 is not faster on this {device.type}"


def open_accelerator(device: str | torch.device | None, precision: str) -> Accelerator:
    """Choose device and precision, and log both with their reasons.

    Args:
        device: As `choose_device`.
        precision: As `choose_precision`.
    """
    chosen, reason = choose_device(None if device is None else str(device))
    used, why = choose_precision(precision, chosen)
    logger.info("device: %s (%s); precision: %s (%s)", chosen, reason, _PRECISIONS[used], why)
    return make_accelerator(chosen, used)


def make_accelerator(device: torch.device, precision: str) -> Accelerator:
    """Return an Accelerator on exactly `device`.

    accelerate keeps one state per process; a notebook that trains on the GPU and then on the CPU
    would be given the first device twice, so the state is reset. Under ``torchrun``, the first call
    joins this process to the others of the job.
    """
    AcceleratorState._reset_state(reset_partial_state=True)
    if device.type == "cuda":
        torch.cuda.set_device(device.index or 0)  # a device without a number is refused
    return Accelerator(
        cpu=device.type == "cpu",
        mixed_precision=precision,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )


def seed_of(*parts: int) -> int:
    """Return the one number that generators are seeded with, 0 to 2^32 - 1."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def seed_everything(*parts: int) -> torch.Generator:
    """Seed Python, NumPy and torch from `parts`; return a CPU generator seeded alike.

    Called with (seed, epoch) at the start of every epoch, so an epoch draws the same numbers
    whether or not the run was stopped before it.
    """
    value = seed_of(*parts)
    random.seed(value)
    np.random.seed(value)  # noqa: NPY002 - libraries that draw from the global generator
    torch.manual_seed(value)
    return torch.Generator().manual_seed(value)
