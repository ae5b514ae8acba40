"""An environment of their own for the peers that `benchmarks.peers` measures.

torch is pinned to the version that runs here, so that both sides compute with the same kernels, and
so that no other build of it is fetched.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from src.errors import MriError
from src.files import write_json

from .timing import RESULTS

FOLDER = RESULTS / "peers-venv"
PEERS = ("monai", "torchio", "nibabel")
_READY = "ready.json"


def peers_python(folder: Path = FOLDER) -> Path:
    """Return the peers' Python; the environment is made when it is not there.

    Raises:
        MriError: It cannot be made, mostly because there is no network.
    """
    python = folder.absolute() / ("Scripts" if os.name == "nt" else "bin") / "python"
    wanted = [f"torch=={torch.__version__.partition('+')[0]}", *PEERS]
    if not _is_ready(folder, wanted):
        print(f"installing {', '.join(wanted)} into {folder}", flush=True)
        _call([sys.executable, "-m", "venv", "--clear", str(folder)], folder)
        _call([str(python), "-m", "pip", "install", *wanted], folder)
        write_json(folder / _READY, wanted)
    return python


def _is_ready(folder: Path, wanted: list[str]) -> bool:
    try:
        return bool(json.loads((folder / _READY).read_text(encoding="utf-8")) == wanted)
    except (OSError, ValueError):
        return False


def _call(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)  # noqa: S603 - our own command
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["no reason was given"]
        said = next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1])
        raise MriError(
            f"MONAI and TorchIO cannot be installed into {folder}: {said}",
            hint="python -m benchmarks peers needs a network the first time",
        )


def versions(python: Path) -> dict[str, str]:
    """Return the versions that are installed there."""
    names = ["torch", *PEERS, "numpy"]
    script = "import json, sys; from importlib.metadata import version as v; "
    script += "print(json.dumps({name: v(name) for name in sys.argv[1:]}))"
    told = subprocess.run([str(python), "-c", script, *names], capture_output=True, check=True)  # noqa: S603 - our own command
    found: dict[str, str] = json.loads(told.stdout)
    return found
