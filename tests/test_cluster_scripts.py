"""Slurm scripts: bash reads them, and what they call is this command line, each fold once.

The scripts run as they are, on stand-ins for Slurm's commands, Python and openssl that write down
the words they were called with.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from src import cli as main
from src.config import config_from_args

SCRIPTS = Path(__file__).resolve().parents[1] / "docs" / "cluster"
NAMES = sorted(path.name for path in SCRIPTS.iterdir() if path.suffix in (".sh", ".sbatch"))
pytestmark = pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")

# Writes its name and words as one line of JSON, and answers as the command that it stands for.
STAND_IN = r"""#!/usr/bin/env bash
line=$(printf '"%s",' "$(basename "$0")" "$@" | tr '\n' ' ')
echo "[${line%,}]" >>"$CALLS"
case "$(basename "$0") ${2:-} $*" in
  srun*) while [[ $1 == --* ]]; do shift; done; "$@" ;;
  scontrol*) printf 'node1\nnode2\n' ;;
  sbatch*collect*) echo '102' ;;
  sbatch*) echo '101;cluster' ;;
  python*'from distributed'*)  # as the real one, it waits for the scheduler and a worker
    until grep -q '"dask","scheduler"' "$CALLS" && grep -q '"python","-m","dask","worker"' "$CALLS"
    do sleep 0.05; done
    echo 'tls://node1:8786' ;;
  python*'dask scheduler'*) exec sleep 60 ;;
esac
"""


@pytest.fixture
def bash(tmp_path):
    """Return a function that runs a script and returns the calls it made, as lists of words."""
    folder, calls = tmp_path / "bin", tmp_path / "calls"
    folder.mkdir()
    for name in ("python", "srun", "sbatch", "scontrol", "openssl"):
        (folder / name).write_text(STAND_IN, encoding="utf-8")
        (folder / name).chmod(0o755)

    def run(script, *words, **variables):
        calls.write_text("", encoding="utf-8")
        given = {
            "PATH": f"{folder}:{os.environ['PATH']}",
            "CALLS": str(calls),
            "PROJECT": str(tmp_path),
            "PYTHON": str(folder / "python"),
            "TMPDIR": str(tmp_path),
            "SLURM_JOB_ID": "4711",
            "SLURM_JOB_NAME": "train",
            "SLURM_JOB_NUM_NODES": "2",
            "SLURM_JOB_NODELIST": "node[1-2]",
            **variables,
        }
        ended = subprocess.run(
            ["bash", str(SCRIPTS / script), *words], env=given, capture_output=True, timeout=20
        )
        assert ended.returncode == 0, ended.stderr.decode()
        return [json.loads(line) for line in calls.read_text(encoding="utf-8").splitlines()]

    return run


def our_command(calls):
    """Return the words after main.py, and the settings they make; there is one such call."""
    found = [call for call in calls if call[0] == "python" and "main.py" in call]
    assert len(found) == 1
    words = found[0][found[0].index("main.py") + 1 :]
    args = main.build_parser().parse_args(words)
    return args.mode, config_from_args(args)


def test_there_is_a_script_for_each_kind_of_work():
    wanted = ["crossval.sbatch", "preprocess.sbatch", "submit_crossval.sh", "train.sbatch"]
    assert wanted == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_bash_reads_it_and_it_stops_at_the_first_error(name):
    subprocess.run(["bash", "-n", str(SCRIPTS / name)], check=True)
    text = (SCRIPTS / name).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert lines[0] == "set -euo pipefail"
    assert text.startswith("#!/usr/bin/env bash\n")


@pytest.mark.parametrize("name", NAMES)
def test_it_fits_any_cluster(name):
    options = [
        line
        for line in (SCRIPTS / name).read_text(encoding="utf-8").splitlines()
        if "#SBATCH" in line
    ]
    for word in ("partition", "account", "qos", "gpu", "gres", "constraint", "module load"):
        assert not any(word in line for line in options)


def test_preprocessing_starts_a_scheduler_workers_and_the_stage(bash, tmp_path):
    calls = bash("preprocess.sbatch", "--dataset", "oasis", "--dim", "3d")
    mode, config = our_command(calls)
    assert (mode, config.data.name, config.dask) == ("preprocess", "oasis_3d", "tls://node1:8786")
    scheduler, worker = (
        next(call for call in calls if call[:4] == ["python", "-m", "dask", what])
        for what in ("scheduler", "worker")
    )
    shared = [call[call.index("--scheduler-file") + 1] for call in (scheduler, worker)]
    assert shared[0] == shared[1]
    assert ["srun", str(tmp_path / "bin" / "python"), *worker[1:]] in calls
    assert all(call[call.index("--protocol") + 1] == "tls" for call in (scheduler, worker))
    assert not list(tmp_path.glob(".dask*"))  # the key does not stay behind


def test_words_of_dask_are_those_that_it_knows():
    pytest.importorskip("distributed")
    from distributed.cli import dask_scheduler, dask_worker

    text = (SCRIPTS / "preprocess.sbatch").read_text(encoding="utf-8").replace("\\\n", " ")
    for what, command in (("scheduler", dask_scheduler.main), ("worker", dask_worker.main)):
        line = next(line for line in text.splitlines() if f"-m dask {what}" in line)
        known = {flag for parameter in command.params for flag in parameter.opts}
        known |= {flag for parameter in command.params for flag in parameter.secondary_opts}
        assert {word for word in line.split() if word.startswith("--")} <= known


@pytest.mark.parametrize("stopped", [False, True])
def test_training_resumes_only_where_there_is_something(bash, tmp_path, stopped):
    last = tmp_path / "models" / "mine" / "last.pth"
    if stopped:
        last.parent.mkdir(parents=True)
        last.touch()
    words = ["--dataset", "oasis_3d", "--epochs", "7"]
    calls = bash("train.sbatch", *words, RUN="mine", CHECKPOINTS="models")
    mode, config = our_command(calls)
    assert (mode, config.train.resume, config.train.epochs) == ("train", stopped, 7)
    kept = tmp_path / config.checkpoint_dir / config.run_name / "last.pth"
    assert kept == last


def test_training_starts_a_launcher_on_every_node_and_a_process_for_each_gpu(bash):
    calls = bash("train.sbatch", "--dataset", "oasis_3d", SLURM_GPUS_ON_NODE="4")
    launcher = next(call for call in calls if call[:3] == ["python", "-m", "torch.distributed.run"])
    from torch.distributed.run import get_args_parser

    args = get_args_parser().parse_args(launcher[3:])
    assert (args.nnodes, args.nproc_per_node) == ("2", "4")
    assert (args.rdzv_backend, args.rdzv_id) == ("c10d", "4711")
    assert args.rdzv_endpoint == "node1:14711"
    assert args.training_script == "main.py"


def test_training_that_runs_out_of_time_is_queued_again(bash, tmp_path):
    running = tmp_path / "running"
    text = f"#!/usr/bin/env bash\ntouch {running}\nkill -USR1 $PPID\nsleep 0.3\n"
    (tmp_path / "bin" / "srun").write_text(text, encoding="utf-8")
    with pytest.raises(AssertionError):  # the script ends: Slurm has the job in its queue again
        bash("train.sbatch", "--dataset", "oasis_3d")
    calls = [
        json.loads(line) for line in (tmp_path / "calls").read_text(encoding="utf-8").splitlines()
    ]
    assert running.exists()
    assert calls[-1] == ["scontrol", "requeue", "4711"]


def test_an_array_trains_every_fold_of_every_repeat_once(bash):
    numbers = {"FOLDS": "3", "REPEATS": "2"}
    calls = bash("submit_crossval.sh", "--dataset", "oasis_3d", **numbers)
    array = next(word for word in calls[0] if word.startswith("--array="))
    first, last = array.removeprefix("--array=").partition("%")[0].split("-")
    done = []
    for task in range(int(first), int(last) + 1):
        given = {**numbers, "SLURM_ARRAY_TASK_ID": str(task)}
        mode, config = our_command(bash("crossval.sbatch", "--dataset", "oasis_3d", **given))
        assert (mode, config.crossval.folds, config.crossval.repeats) == ("crossval", 3, 2)
        assert not config.crossval.collect
        done.append((config.crossval.repeat, config.crossval.fold))
    assert sorted(done) == [(repeat, fold) for repeat in range(2) for fold in range(3)]


def test_a_second_job_joins_the_folds_when_all_ended_well(bash):
    calls = bash("submit_crossval.sh", "--dataset", "oasis_3d", "--epochs", "5", FOLDS="3")
    array, join = calls
    assert [call[0] for call in calls] == ["sbatch", "sbatch"]
    assert "--dependency=afterok:101" in join
    assert not any(word.startswith("--array") for word in join)
    script = next(number for number, word in enumerate(join) if word.endswith("crossval.sbatch"))
    assert join[script + 1 :] == [*array[-4:], "--collect"]
    mode, config = our_command(bash("crossval.sbatch", *join[script + 1 :], FOLDS="3"))
    assert (mode, config.crossval.collect, config.crossval.folds) == ("crossval", True, 3)
    assert (config.crossval.fold, config.crossval.repeat, config.train.epochs) == (None, None, 5)


def test_without_an_array_one_job_does_all_folds(bash):
    _, config = our_command(bash("crossval.sbatch", "--dataset", "oasis_2d", "--freeze_backbone"))
    assert (config.crossval.fold, config.crossval.repeat) == (None, None)
    assert not config.crossval.collect
    assert config.model.freeze_backbone
