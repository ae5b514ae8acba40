"""Import torchvision also where its compiled operators do not load; import it from here only."""

from __future__ import annotations

from .torchvision_operators import let_torchvision_import

let_torchvision_import()

from torchvision import models, ops  # noqa: E402  must come after the preparation above

__all__ = ["models", "ops"]
