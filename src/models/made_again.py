"""What makes a network of the user's own, called again: never code from a file, and by consent."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from ..errors import ConfigError

Maker = Callable[..., nn.Module]
#: A checkpoint's word is enough to make a network that this package lists.
_TRUSTED = "torchvision.models."


def made(maker: Any, classes: int | None) -> nn.Module:
    """Call what makes a network, with the number of classes where it takes one."""
    name = getattr(maker, "__name__", type(maker).__name__)
    try:
        taken = inspect.signature(maker).parameters.values()
    except (TypeError, ValueError):
        taken = ()  # type: ignore[assignment]
    takes = any(one.name == "num_classes" or one.kind is one.VAR_KEYWORD for one in taken)
    named = {"num_classes": classes} if takes and classes is not None else {}
    try:
        network = maker(**named)
    except Exception as error:
        raise ConfigError(
            f"{name} makes no network: {' '.join(str(error).split())[:200]}",
            hint=f"def {name}(num_classes): ... returns the network, and needs nothing else",
        ) from error
    if not isinstance(network, nn.Module):
        raise ConfigError(
            f"{name} returns a {type(network).__name__}, not a network",
            hint="give a function that returns a torch.nn.Module",
        )
    return network


def import_path(network: nn.Module, made_by: str | Maker, classes: int) -> str | None:
    """Return ``"package.module:name"`` of what makes a network; None where nothing can import it.

    Raises:
        ConfigError: It makes another network.
    """
    if isinstance(made_by, str):
        path = made_by
    else:
        path = f"{getattr(made_by, '__module__', '')}:{getattr(made_by, '__qualname__', '')}"
        try:
            if imported(path) is not made_by:
                return None
        except ConfigError:  # a function in a function, a partial
            return None
    again = made(imported(path), classes).state_dict()
    own = {name: value.shape for name, value in network.state_dict().items()}
    if own != {name: value.shape for name, value in again.items()}:
        raise ConfigError(
            f"{path} makes another network: its weights have other names or shapes",
            hint="name what made this one, or leave made_by out",
        )
    return path


def imported(path: str) -> Any:
    """Return what ``"package.module:name"`` names.

    Raises:
        ConfigError: There is no such thing.
    """
    module, _, name = path.partition(":")
    hint = "write it as package.module:name, and start where `import package.module` works"
    if not all(part.isidentifier() for part in [*module.split("."), *name.split(".")]):
        raise ConfigError(f"{path!r} names nothing that can be imported", hint=hint)
    if module.split(".")[0] == "torchvision":
        from . import torchvision_import  # noqa: F401 - beside a torch for CPUs it needs a hand
    try:
        found = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise ConfigError(
            f"{path} cannot be imported: {' '.join(str(error).split())[:200]}", hint=hint
        ) from error
    return found


def trusted(made_by: str | None, path: Path) -> Any:
    """Return what a checkpoint names as its network's maker, where its word is enough.

    Raises:
        ConfigError: It is not, or it names nothing.
    """
    if made_by is None:
        raise ConfigError(
            "it is of a network of your own, and does not say what makes it",
            hint=f"load_model({str(path)!r}, network=...), with the network",
        )
    module, _, name = made_by.partition(":")
    if f"{module}.".startswith(_TRUSTED):
        models = importlib.import_module(".torchvision_import", __package__).models
        if name in models.list_models():
            return models.get_model_builder(name)
    found = getattr(sys.modules.get(module), name, None)
    if isinstance(found, type) and issubclass(found, nn.Module):
        return found
    raise ConfigError(
        f"it is of a network of your own, which {made_by} makes",
        hint=f"if you trust that: --backbone {made_by}, in Python "
        f"load_model({str(path)!r}, network={made_by!r})",
    )
