"""Small runs from the command line, and what a wrong input is answered with."""

from src import cli


def words(folder, *more):
    """Return the flags of a run that is over in seconds and stays in `folder`."""
    small = "--phantom_subjects 12 --phantom_voxel 4 --image_size 64 --num_slices 2"
    small += " --volume_size 32 --classes 2 --weights none --epochs 1 --bootstrap 100 --samples 1"
    small += " --graded 1 --device cpu --workers 1"
    places = [
        f"--{name}={folder / name}" for name in ("data_root", "checkpoint_dir", "results_dir")
    ]
    return [*small.split(), *places, *map(str, more)]


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
