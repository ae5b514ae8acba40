"""Small runs from the command line, and what a wrong input is answered with."""

from src import cli
from src.config import RunConfig
from src.config.flags import read_by


def only_read(mode, words):
    """Return flags and their values without the flags that a mode does not read."""
    kept, known = [], read_by(mode, RunConfig)
    for word in map(str, words):
        if word.startswith("--"):
            keeps = word[2:].removeprefix("no-").partition("=")[0] in known
        kept += [word] if keeps else []
    return kept


def words(folder, *more):
    """Return the flags of a run that is over in seconds and stays in `folder`.

    Of the flags that make it small, those are left out that the mode in `more` does not read.
    """
    small = "--phantom_subjects 12 --phantom_voxel 4 --image_size 64 --num_slices 2"
    small += " --volume_size 32 --classes 2 --weights none --epochs 1 --bootstrap 100 --samples 1"
    small += " --graded 1 --device cpu --workers 1"
    places = [
        f"--{name}={folder / name}" for name in ("data_root", "checkpoint_dir", "results_dir")
    ]
    given = [*map(str, more)]
    mode = given[given.index("--mode") + 1] if "--mode" in given else "full"
    known = mode if mode in (*cli.STAGES, "full") else "full"  # others are refused before flags are
    return [*only_read(known, [*small.split(), *places]), *given]


def refused(capsys, *given):
    """Return the sentence that a wrong input is answered with, after checking its form."""
    capsys.readouterr()
    try:
        status = cli.main([str(word) for word in given])
    except SystemExit as leaving:  # argparse leaves by itself
        status = leaving.code
    lines = [line for line in capsys.readouterr().err.splitlines() if "%|" not in line]
    assert status == 2
    assert lines[-2].startswith("error: ")
    assert lines[-1].startswith("  fix: ")
    return "\n".join(lines[-2:])


def files(folder):
    """Return every file below a folder, and when it was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
