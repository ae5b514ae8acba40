"""Logging to stderr, progress bars, and what the environment says."""

import ast
import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_runs import kept_loggers

from src import runtime
from src.errors import ConfigError
from src.runtime import (
    Place,
    Terminated,
    configure_logging,
    give_memory_back,
    job_address,
    keep_memory,
    place_in_job,
    progress,
    said_once,
    sigterm_interrupts,
    usable_cores,
    weight_cache,
)

ROOT = Path(__file__).resolve().parents[1]
JOB = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}


@pytest.fixture
def job(monkeypatch):
    """The environment of process 3 of 4, the second of its machine."""
    for name, value in JOB.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def loggers():
    with kept_loggers():
        yield


def test_the_log_goes_to_stderr_as_plain_lines(capsys, loggers):
    configure_logging()
    logging.getLogger("src.stages.train").info("epoch %d", 1)
    assert capsys.readouterr() == ("", "epoch 1\n")


def test_a_second_call_does_not_repeat_lines(capsys, loggers):
    configure_logging()
    configure_logging()
    logging.getLogger("src").warning("once")
    assert capsys.readouterr().err == "once\n"


def test_the_level_is_kept(capsys, loggers):
    configure_logging(logging.WARNING)
    logging.getLogger("src").info("quiet")
    assert capsys.readouterr().err == ""


def test_progress_gives_the_items_and_writes_to_stderr_only(capsys):
    assert list(progress([3, 1, 2], desc="scans")) == [3, 1, 2]
    out, err = capsys.readouterr()
    assert out == ""
    assert "scans" in err


def test_cores_are_those_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {4, 7, 9}, raising=False)
    assert usable_cores() == 3


def test_cores_where_there_is_no_affinity(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1


def test_the_cores_of_a_machine_are_shared_by_its_processes(job, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(7)), raising=False)
    assert usable_cores() == 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert usable_cores() == 1


def test_the_place_in_a_job(job):
    assert place_in_job() == Place(index=3, count=4, local_index=1, local_count=2)


def test_alone_without_torchrun(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert place_in_job() == Place(0, 1, 0, 1)


@pytest.mark.parametrize(("name", "value"), [("RANK", ""), ("WORLD_SIZE", "four")])
def test_half_a_job_is_refused(job, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"not clearly: .*{name}='{value}'"):
        place_in_job()


def test_the_address_of_a_job(monkeypatch):
    monkeypatch.setenv("MASTER_ADDR", "node7")
    monkeypatch.setenv("MASTER_PORT", "29400")
    assert job_address() == ("node7", 29400)


def test_progress_is_silent_where_stderr_is_closed(monkeypatch):
    monkeypatch.setattr("sys.stderr", None)
    assert list(progress([3, 1])) == [3, 1]


def test_only_process_0_shows_progress(job, capsys):
    assert list(progress([3, 1], desc="scans")) == [3, 1]
    assert capsys.readouterr().err == ""


def test_sigterm_interrupts_once_and_the_handler_before_comes_back():
    before = signal.getsignal(signal.SIGTERM)

    def told_twice():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)  # ignored: the first is being obeyed

    with pytest.raises(Terminated), sigterm_interrupts():
        told_twice()
    assert signal.getsignal(signal.SIGTERM) == before


def test_weights_are_cached_where_torch_caches_them(monkeypatch):
    monkeypatch.setenv("TORCH_HOME", "/cache/torch")
    assert weight_cache() == Path("/cache/torch/hub/checkpoints")
    monkeypatch.delenv("TORCH_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert weight_cache() == Path("/cache/torch/hub/checkpoints")


def test_no_other_module_reads_the_environment():
    reads = re.compile(r"\benviron\b|\bgetenv\b")
    sources = (ROOT / "src").rglob("*.py")
    readers = [path.name for path in sources if reads.search(path.read_text(encoding="utf-8"))]
    assert readers == ["runtime.py"]


def without_encoding(source):
    """Return the lines that read or write text as the locale says, which differs by machine."""
    found = []
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        method = isinstance(call.func, ast.Attribute)
        name = call.func.attr if method else getattr(call.func, "id", "")
        given = {word.arg: getattr(word.value, "value", None) for word in call.keywords}
        place = {"read_text": 0, "write_text": 1}.get(name)  # of the encoding
        if name == "open":
            rest = call.args[0 if method else 1 :]
            mode = getattr(rest[0], "value", None) if rest else given.get("mode", "r")
            text = isinstance(mode, str) and re.fullmatch(r"[rwaxt+]+", mode)
        else:
            text = place is not None and len(call.args) <= place
        if "encoding" not in given and (text or given.get("text") is True):
            found.append(call.lineno)
    return found


@pytest.mark.parametrize(
    "call",
    [
        "path.read_text()",
        "path.write_text(words)",
        "open(path)",
        "open(path, 'w')",
        "path.open()",
        "path.open(mode='a')",
        "subprocess.run(command, text=True)",
    ],
)
def test_text_whose_encoding_the_locale_decides_is_found(call):
    assert without_encoding(f"\n{call}") == [2]
    assert without_encoding(f"{call[:-1]}, encoding='utf-8')".replace("(,", "(")) == []


@pytest.mark.parametrize(
    "call", ["path.open('rb')", "open(path, 'wb')", "Image.open(path)", "run()"]
)
def test_bytes_have_no_encoding(call):
    assert without_encoding(call) == []


@pytest.mark.slow
def test_every_text_file_names_its_encoding():
    folders = [ROOT / name for name in ("src", "tests", "benchmarks")]
    sources = [*ROOT.glob("*.py"), *(path for one in folders for path in one.rglob("*.py"))]
    found = {path: without_encoding(path.read_text(encoding="utf-8")) for path in sources}
    assert not {str(path): lines for path, lines in found.items() if lines}
    assert len(found) > 200


def test_what_every_fold_says_is_said_once_and_warnings_every_time(caplog):
    from src.models.device import choose_device

    logger = logging.getLogger("src.models.device")
    with caplog.at_level(logging.INFO, logger="src"):
        with said_once(choose_device):
            for number in (1, 1, 2):
                logger.info("device %d", number)
                logger.warning("careful")
        logger.info("device %d", 1)
    assert caplog.messages == ["device 1", "careful", "careful", "device 2", "careful", "device 1"]


#: Prints the pages, of 4 kiB, that taking and freeing 40 MiB ten times cost: all, or next to none.
PAGES = """
import resource
def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        bytearray(b"1") * (40 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
"""
ON_GLIBC = pytest.mark.skipif(not runtime._on_glibc(), reason="only glibc can keep memory")


def pages_of(code: str, **environment: str) -> list[int]:
    """Run code after `PAGES` in an interpreter of its own; return the numbers that it prints."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    ended = subprocess.run(
        [sys.executable, "-c", PAGES + code], cwd=ROOT, env=plain | environment, check=True,
        capture_output=True, encoding="utf-8",
    )  # fmt: skip
    return [int(word) for word in ended.stdout.split()]


@ON_GLIBC
def test_freed_memory_is_kept_and_given_back_between_stages():
    before, after, again = pages_of(
        "from src.runtime import give_memory_back, keep_memory\n"
        "print(pages())\nkeep_memory()\npages()\nprint(pages())\n"
        "give_memory_back()\nprint(pages())"
    )
    assert before > 90_000
    assert after < 100
    assert 5_000 < again < 15_000  # taken once


@ON_GLIBC
def test_memory_is_given_back_where_that_is_asked():
    (after,) = pages_of("from src.runtime import keep_memory\nkeep_memory(False)\nprint(pages())")
    assert after > 90_000


@ON_GLIBC
def test_forked_and_started_processes_keep_memory_too():
    code = f"""
import os, subprocess, sys
from src.runtime import keep_memory
keep_memory()
sys.stdout.flush()
if not os.fork():
    pages(); print(pages(), flush=True); os._exit(0)
os.wait()
subprocess.run([sys.executable, "-c", {PAGES!r} + "pages(); print(pages())"], check=True)
"""
    forked, started = pages_of(code)
    assert max(forked, started) < 100


@ON_GLIBC
@pytest.mark.slow
def test_worker_processes_keep_memory_too():
    code = """
from joblib import Parallel, delayed
from src.runtime import keep_memory
keep_memory()
print(*Parallel(2)(delayed(pages)() for _ in range(8)))
"""
    assert sorted(pages_of(code))[5] < 100  # a worker's first call takes the memory


@ON_GLIBC
@pytest.mark.parametrize(
    "own", [{"MALLOC_TRIM_THRESHOLD_": "131072"}, {"GLIBC_TUNABLES": "glibc.malloc.top_pad=131072"}]
)
def test_who_has_set_the_memory_decides(own, monkeypatch, caplog):
    for name, _, _ in runtime._MALLOC:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(runtime, "_kept", None)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    with caplog.at_level(logging.DEBUG, logger="src"):
        assert not keep_memory()
    assert caplog.messages == [
        f"freed memory is handled as {next(iter(own))} in the environment says"
    ]
    assert "MALLOC_MMAP_THRESHOLD_" not in os.environ


@pytest.mark.parametrize("error", [ValueError, AttributeError])
def test_elsewhere_memory_is_left_alone(error, monkeypatch, caplog):
    def confstr(name):
        raise error(name)

    monkeypatch.setattr(os, "confstr", confstr, raising=False)
    monkeypatch.setattr(runtime, "_kept", None)
    with caplog.at_level(logging.DEBUG, logger="src"):
        assert not keep_memory()
        assert not keep_memory()
        give_memory_back()
    assert len(caplog.messages) == 1
    assert "only on Linux with glibc" in caplog.text


class Refusing:
    """A C library that takes these values only, and notes what it was asked."""

    def __init__(self, *taken):
        self.taken, self.asked = taken, []

    def mallopt(self, number, value):
        self.asked.append((number, value))
        return int(value in self.taken)


@ON_GLIBC
def test_an_older_glibc_takes_less_and_what_it_refuses_is_told(monkeypatch, caplog):
    for name, _, _ in runtime._MALLOC:
        monkeypatch.setenv(name, "")  # so that all is put back at the end
        monkeypatch.delenv(name)
    library = Refusing(2**25, -1, 2**26)
    monkeypatch.setattr(runtime.ctypes, "CDLL", lambda _: library)
    monkeypatch.setattr(runtime, "_kept", None)
    assert keep_memory()
    assert library.asked == [(-3, 2**30), (-3, 2**25), (-1, -1), (-2, 2**26)]
    assert os.environ["MALLOC_MMAP_THRESHOLD_"] == str(2**25)
    for name, _, _ in runtime._MALLOC:
        monkeypatch.delenv(name)
    library.taken = ()
    monkeypatch.setattr(runtime, "_kept", None)
    assert not keep_memory()
    assert "glibc refuses MALLOC_MMAP_THRESHOLD_" in caplog.text


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
@pytest.mark.parametrize("where", ["/dev/full", "nobody"])
def test_messages_that_nobody_can_read_change_no_exit_status(tmp_path, where):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, str(ROOT / "main.py"), "--mode", "audit", "--dataset", "oasis_2d"]
    with Path(where).open("wb") if where != "nobody" else os.fdopen(writer, "wb") as stream:
        done = subprocess.run(
            [*command, "--data_root", str(tmp_path)], stderr=stream, cwd=tmp_path, check=False
        )
    assert done.returncode == 2


def test_a_folder_that_is_gone_is_told(tmp_path):
    (tmp_path / "gone").mkdir()
    code = (
        f"import os, sys; os.chdir({str(tmp_path / 'gone')!r}); os.rmdir(os.getcwd()); "
        f"sys.path.insert(0, {str(ROOT)!r}); from src import cli; "
        "sys.exit(cli.main(['--mode', 'train']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False
    )
    assert (done.returncode, done.stderr.count("Traceback")) == (2, 0)
    assert "is gone\n  fix: cd to another" in done.stderr


def test_a_notebook_hears_the_log_unless_somebody_decided_where_it_goes(monkeypatch, capsys):
    log = logging.getLogger("src")
    monkeypatch.setattr(log, "handlers", [])
    monkeypatch.setattr(log, "propagate", True)
    log.setLevel(logging.NOTSET)
    try:
        runtime.speak_in_notebook()
        assert log.handlers == []  # this is no notebook
        monkeypatch.setattr(runtime, "in_notebook", lambda: True)
        runtime.speak_in_notebook()
        logging.getLogger("src.training").info("epoch 1")
        said = capsys.readouterr()
        assert said.out == "epoch 1\n"  # what goes to stderr is red there
        assert said.err == ""
        mine = logging.NullHandler()
        log.handlers[:] = [mine]
        runtime.speak_in_notebook()
        assert log.handlers == [mine]
    finally:
        log.setLevel(logging.NOTSET)


def test_bars_of_notebooks_need_widgets(monkeypatch):
    assert runtime._bar_kind().__module__ == "tqdm.std"
    monkeypatch.setattr(runtime, "in_notebook", lambda: True)
    monkeypatch.setattr(runtime, "find_spec", lambda name: None)
    assert runtime._bar_kind().__module__ == "tqdm.std"
    monkeypatch.setattr(runtime, "find_spec", lambda name: True)
    assert runtime._bar_kind().__module__ == "tqdm.notebook"
