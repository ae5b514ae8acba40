"""Image files in folders named after stages, below ``train/`` and ``test/`` or not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataNotFoundError, ManifestError
from ..labels import STAGES, stage_from_folder
from .visible_files import visible_files

_SIDES = ("train", "test")


@dataclass(frozen=True)
class ImageFile:
    """One file, and what the folders above it say.

    Attributes:
        path: Relative to the cohort's folder, with ``/``.
        stem: File name without its suffix (``.nii.gz`` is one suffix).
        stage: Stage of the nearest class folder, or None.
        side: ``"train"`` or ``"test"`` as downloaded, or None.
    """

    path: str
    stem: str
    stage: str | None
    side: str | None


def list_images(root: str | Path, suffixes: tuple[str, ...], *, hint: str) -> list[ImageFile]:
    """List the files under `root` that end in one of `suffixes`, in whatever case, by path.

    Args:
        root: Folder of the cohort; its own name says nothing.
        suffixes: Lower case, with the dot; a longer one before a shorter one that it ends in.
        hint: How to get the images, should there be none.

    Raises:
        DataNotFoundError: There is no such folder, or no such file in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataNotFoundError(root, hint=hint)
    found = sorted(_images(root, suffixes), key=lambda image: image.path)
    if not found:
        raise DataNotFoundError(root / "**" / f"*{suffixes[0]}", hint=hint)
    return found


def require_stages(root: Path, images: list[ImageFile]) -> None:
    """Refuse images that lie in no class folder.

    Raises:
        ManifestError: It lists their folders, and the class folders expected.
    """
    unknown = sorted({image.path.rpartition("/")[0] or "." for image in images if not image.stage})
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise ManifestError(
            f"{root}: folders with images whose name is no stage: {', '.join(unknown[:5])}{more}; "
            f"expected {', '.join(STAGES)}",
            hint="rename them, or move them out of the folder",
        )


def _images(root: Path, suffixes: tuple[str, ...]) -> Iterator[ImageFile]:
    for folder, names in visible_files(root, skip=(".", "__MACOSX")):
        above = folder.split("/")[-2::-1]  # nearest first
        stage = next((stage for stage in map(stage_from_folder, above) if stage), None)
        side = next((name.lower() for name in above if name.lower() in _SIDES), None)
        for name in names:
            suffix = next((end for end in suffixes if name.lower().endswith(end)), None)
            if suffix is not None:
                yield ImageFile(folder + name, name[: -len(suffix)], stage, side)
