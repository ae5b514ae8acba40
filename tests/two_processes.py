"""What a job of two processes computes, and one alone: run by ``torchrun``, or called by a test."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from tiny_runs import run_config
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from src import cli
from src.models.create import create_model
from src.runtime import place_in_job
from src.stages import train
from src.training.epoch import Step
from src.training.processes import from_main, in_order, join_batch_norms, share_of, spread
from src.training.state import TrainState

#: Shapes of the batches that are normalised; two processes share 5 as 3 and 2, and 1 as 1 and 0.
BATCHES = ((5, 3, 4, 6), (1, 3, 4, 6), (5, 2, 4, 3, 6), (1, 2, 4, 3, 6))
#: Networks that take one step: backbone, images in the batch and parts.
STEPS = (("resnet18", 5, 1), ("simple", 5, 1), ("simple", 1, 1), ("linear", 5, 4), ("linear", 1, 2))
#: Runs whose histories are compared. Few steps at a low rate: AdamW makes more of rounding.
RUNS: dict[str, dict[str, Any]] = {
    "phantom_2d": {
        "backbone": "resnet18",
        "batch_size": 7,
        "lr": 1e-5,
        "epochs": 2,
        "precision": "fp32",
    },
    "phantom_3d": {
        **{"backbone": "simple", "batch_size": 5},
        **{"lr": 1e-6, "epochs": 6, "precision": "fp32"},
    },
    "frozen": {"backbone": "resnet18", "freeze_backbone": True},
}


def normalise(accelerator: Accelerator, shape: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """Return a batch through batch normalisation, its gradients and the running statistics."""
    generator = torch.Generator().manual_seed(1)
    x, wanted = torch.randn(2, *shape, generator=generator, dtype=torch.float64) * 3 + 50
    kind = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm3d
    net = nn.Sequential(kind(shape[1])).double()
    with torch.no_grad():
        net[0].weight.copy_(torch.rand(shape[1], generator=generator))
    own = share_of(len(x), accelerator.process_index, accelerator.num_processes)
    x = x[own].clone().requires_grad_()
    if accelerator.num_processes > 1:
        join_batch_norms(net, accelerator.device)
    out = net(x)
    (out * wanted[own]).square().sum().backward()
    weight, bias = (accelerator.reduce(net[0].get_parameter(n).grad) for n in ("weight", "bias"))
    return {
        "out": torch.cat(in_order([out.detach()], accelerator)),
        "gradient": torch.cat(in_order([x.grad], accelerator)),
        "weight": weight,
        "bias": bias,
        **{f"kept.{name}": value for name, value in net.state_dict().items()},
    }


def step(accelerator: Accelerator, backbone: str, size: int, parts: int) -> dict[str, torch.Tensor]:
    """Return the loss of a batch and the weights after one step on it, in double precision."""
    torch.manual_seed(2)
    shape = (40, 36) if backbone == "resnet18" else (24, 28, 32)
    if backbone == "linear":
        net: nn.Module = nn.Sequential(nn.Flatten(), nn.Linear(24 * 28 * 32, 2))
    else:
        dim = "2d" if backbone == "resnet18" else "3d"
        net = create_model(dim, backbone, 2, pretrained=False, dropout=0.0)
    net = net.double().train()
    images = torch.rand(size, 1, *shape, dtype=torch.float64)
    labels = torch.arange(size) % 3 % 2
    sgd = torch.optim.SGD(net.parameters(), lr=0.1)
    state = TrainState(net, sgd, LambdaLR(sgd, lambda _: 1.0))
    weights = torch.tensor([0.5, 2.0])
    own = share_of(size, accelerator.process_index, accelerator.num_processes)
    spreading = spread(net, accelerator)
    take = Step(state, accelerator, "ce", weights, parts=parts, grad_clip=1e6, net=spreading)
    return {"loss": take(images[own], labels[own], size), **net.state_dict()}


def train_run(data: Path, root: Path, name: str) -> list[str]:
    """Train as the stage does; return the files that this process says it wrote."""
    folder = data / ("phantom_3d" if "3d" in name else "phantom_2d")
    settings = {"dropout": 0.0, "run": name, **RUNS[name]}
    return [path.name for path in train.run(run_config(folder, root, **settings))]


def words(data: Path, root: Path) -> list[str]:
    """Return the command line of a training of volumes that writes under `root`."""
    name = "phantom_3d"
    flags: dict[str, Any] = {"data_root": data, "dataset": name, "run": name, "device": "cpu"}
    flags |= {"classes": 2, "weights": "none", "dropout": 0, **RUNS[name]}
    flags |= {"results_dir": root / "results", "checkpoint_dir": root / "checkpoints"}
    return ["--mode", "train", *(f"--{name}={value}" for name, value in flags.items())]


def outcomes() -> dict[str, Any]:
    """Return everything that must not depend on the number of processes."""
    accelerator = Accelerator(cpu=True)
    index = accelerator.process_index
    found: dict[str, Any] = {"held": from_main(index, accelerator)}
    found["order"] = in_order([10 * batch + index for batch in range(3)], accelerator)
    found |= {f"normalise {shape}": normalise(accelerator, shape) for shape in BATCHES}
    found |= {f"step {given}": step(accelerator, *given) for given in STEPS}
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    Accelerator.end_training = lambda self: None  # a run leaves the job; here, others follow
    data, root, killed = map(Path, sys.argv[1:])
    found = outcomes()
    found["written"] = {name: train_run(data, root, name) for name in RUNS}
    found["status"] = cli.main([*words(data, killed), "--resume"])
    torch.save(found, root / f"process_{place_in_job().index}.pt")
