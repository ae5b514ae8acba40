"""Stage Alzheimer's disease from brain MRI, one pipeline stage per command."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from .config import COHORTS, DATASETS, RunConfig, config_from_args
from .config.flags import flags_of
from .config.help import add_flags, mode_called, short_help
from .config.modes import FULL, MODES
from .errors import AuditFailed, ConfigError, MriError, nearest
from .files import require_writable, sole_writer, told
from .report.failures import failures_in, forget_failure, note_failure
from .runtime import (
    Terminated,
    configure_logging,
    end_with,
    give_memory_back,
    keep_memory,
    place_in_job,
    sigterm_interrupts,
    speak_to_anyone,
)

#: Modules of `stages`, named and not imported, so --help and a mistyped flag never wait for torch.
STAGES = tuple(MODES)
#: Stages of `FULL` whose failure leaves what the report can be made of.
LATE = ("evaluate", "gradcam")
REPORTED = ("evaluate", "crossval", "crossdata", "predict")
SCORED = ("metrics.json", "crossdata.json")  # in a run's folder: there is something to report
#: How older versions turned a setting off that has several values now.
_FORMER = {
    f"--no-{flag.name}": f"--{flag.name}={flag.switch[False]}"
    for flag in flags_of(RunConfig)
    if flag.switch
}
_PATIENCE = 120.0  # seconds that a report waits for another process to write it
#: What spreads the stages that torchrun does not.
SPREAD_BY = {
    "preprocess": "--workers N on one machine, --dask ADDRESS on several",
    "crossval": "a job array, one --repeat and --fold for each job, and --collect at last",
    "crossdata": "a job array, one --cell for each job, and --collect at last",
}

#: The same program is `main.py` of a clone and `mri-ad` of an installed package.
PROGRAM, COMMAND = ("main.py", "python main.py") if __package__ == "src" else ("mri-ad", "mri-ad")

logger = logging.getLogger("main")


class Parser(argparse.ArgumentParser):
    """A parser that takes ``--batch-size`` for ``--batch_size`` and answers in one sentence."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong, what was probably meant and where help is; leave with status 2."""
        _say(
            f"error: {message}\n  fix: {self._meant(message)}{COMMAND} --help-all lists every flag"
        )
        self.exit(2)

    def _meant(self, message: str) -> str:
        """Return a question with the nearest flag or value for argparse's sentence, if any is."""
        wrong = re.search(r"invalid choice: '?([^' ]+)'? \(choose from (.*)\)", message)
        if wrong:
            near = nearest(wrong[1], re.findall(r"[^\s',]+", wrong[2]))
        else:
            flags = [action.dest for action in self._actions if action.option_strings]
            _, _, unknown = message.partition("unrecognized arguments:")
            names = re.findall(r"(?:^|\s)--(no-)?([\w-]+)", unknown)
            near = [f"--{no}{flag}" for no, name in names for flag in nearest(name, flags)]
        return f"did you mean {' and '.join(near)}? " if near else ""


def build_parser(mode: str | None = None) -> Parser:
    """Return the parser: `--mode`, `--debug`, and one flag per field of `RunConfig`.

    Args:
        mode: Only flags that it reads are known, for a help that lists them; None takes all.
    """
    usage = f"{COMMAND}{f' --mode {mode}' if mode else ' [--mode MODE]'} [flags ...]"
    about = f"{mode_called(mode).about.capitalize()}." if mode else __doc__
    parser = Parser(
        prog=PROGRAM, usage=usage, description=about, add_help=False, allow_abbrev=False
    )
    add_flags(parser, mode)
    return parser


def print_help(words: Sequence[str]) -> None:
    """Print the help that was asked for: short, of one mode, or of everything."""
    if "--help_all" in words:
        print(build_parser().format_help(), end="")
        return
    asked = Parser(prog=PROGRAM, add_help=False, allow_abbrev=False)
    asked.add_argument("--mode", choices=[*STAGES, "full"])
    mode = asked.parse_known_args(words)[0].mode
    print(build_parser(mode).format_help() if mode else short_help(COMMAND) + "\n", end="")


def run_stage(name: str, config: RunConfig) -> list[Path]:
    """Run one stage, log each file it wrote and return them.

    Args:
        name: One of `STAGES`; its module has ``run(config) -> Iterable[Path]``.
        config: Checked settings. A stage reads nothing else: no ``sys.argv``, no environment.

    Raises:
        MriError: An input is missing or malformed; the message names the command that makes it.
    """
    logger.info("== %s ==", ": ".join(filter(None, [name, _about(name, config)])))
    written = []
    # What the system refuses is a sentence here, so that a late stage tells it, too.
    with _alone(name, config), told(None, "used"):
        for path in importlib.import_module(f".stages.{name}", __package__).run(config):
            logger.info("wrote %s", path)
            written.append(path)
    if name in LATE:
        forget_failure(config.results_dir / config.run_name, name)
    give_memory_back()  # the next stage may start processes that need some
    return written


@contextmanager
def _alone(name: str, config: RunConfig) -> Iterator[None]:
    """Let one process at a time write what a stage writes; of a job's processes the first asks."""
    folders = {"preprocess": config.data.data_root, "train": config.checkpoint_dir}
    folder = folders.get(name, config.results_dir)
    require_writable(folder)
    if place_in_job().index:
        yield
        return
    what, hint = config.run_name, "give this run a name of its own: --run NAME"
    if name == "preprocess":  # the phantoms of 2D and 3D are the same files
        phantom = config.data.cohort == "phantom"
        what, hint = "phantom" if phantom else config.data.name, "name another folder: --data_root"
    # Jobs of an array write into one folder.
    parts = [name, config.crossval.repeat, config.crossval.fold, config.crossdata.cell]
    lock = folder / ".".join(["", what, *(str(one) for one in parts if one is not None), "lock"])
    patience = _PATIENCE if name == "report" else 0.0  # it ends evaluate and gradcam both
    with sole_writer(lock, f"{folder / what} ({name})", hint, patience):
        yield


def _about(name: str, config: RunConfig) -> str:
    """Return what a stage is about, as its heading names it; empty where nothing was named."""
    named = {
        "predict": config.predict.input,
        "export": config.evaluate.checkpoint or config.data.name,
        "audit": config.data.data_dir or config.data.name,
        "report": config.run_name,
        "compare": ", ".join(config.runs),
        "crossdata": ", ".join(config.data.datasets),
    }
    return str(named.get(name, config.data.name) or "")


def is_processed(config: RunConfig) -> bool:
    """Return whether a processed data set is there whose raw files need not be: no phantom."""
    there = (config.data.processed_dir / "manifest.csv").is_file()
    return there and config.data.data_dir is None and config.data.cohort != "phantom"


def run_full(config: RunConfig, *, debug: bool = False) -> int:
    """Run every stage and end with the folders written and the page to open.

    A late stage that fails does not keep the others from running, nor the report from being made;
    with `debug` its error is raised instead.

    Returns:
        0, or 1 where a stage failed.
    """
    importlib.import_module(".stages.preflight", __package__).check_before(config, *FULL)
    written: list[Path] = []
    for name in FULL:
        if name == "preprocess" and not config.data.raw_dir.exists() and is_processed(config):
            logger.info("no raw data in %s: the processed data are used", config.data.raw_dir)
            continue
        if name in LATE and not debug:
            written += _try_stage(name, config)
        else:
            written += run_stage(name, config)
        if name == "preprocess":  # --data_dir named the raw files; from here on, the processed ones
            config = replace(config, data=replace(config.data, data_dir=None))
    written += run_report(config, written)
    failed = failures_in(config.results_dir / config.run_name)
    ended = f"done, but for {' and '.join(failed)}" if failed else "done"
    print(f"\n{ended}. What was made lies in:")
    for folder in dict.fromkeys(path.parent for path in written):
        print(f"  {folder}")
    first = [path for path in written if path.name in ("metrics.md", "report.html")]
    print(f"open {first[-1]}" if first else "there is no report: nothing was scored")
    return 1 if failed else 0


def _try_stage(name: str, config: RunConfig) -> list[Path]:
    """Run a late stage; where it fails, say so in one line and write it down for the report."""
    folder = config.results_dir / config.run_name
    try:
        return run_stage(name, config)
    except Exception as error:  # noqa: BLE001 - a bug of one stage takes nothing from the others
        reason = _in_one_line(error)
        words = (COMMAND, "--mode", name, "--config", folder / "config.json", "--run", folder.name)
        fix = getattr(error, "hint", "") or f"{' '.join(map(str, words))} --debug"
        logger.error("%s failed: %s; the other stages go on\n  fix: %s", name, reason, fix)
        note_failure(folder, name, reason)
        scored = folder / "metrics.json"  # what was written before the stage failed
        return [scored] if name == "evaluate" and scored.is_file() else []


def _in_one_line(error: Exception) -> str:
    """Return an input error's own sentence, or the kind and message of any other error."""
    text = error.message if isinstance(error, MriError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:300]


def run_report(config: RunConfig, written: Sequence[Path]) -> list[Path]:
    """End with the page of the run whose results were written; none with ``--no-report``."""
    folders = {
        **{path.parent: True for path in written if path.name in SCORED},
        **{path.parent.parent: True for path in written if path.name == "predictions.json"},
    }
    if not config.report or not folders:
        return []
    return run_stage("report", replace(config, run=next(iter(folders)).name))


def refuse_torchrun(mode: str) -> None:
    """Raise when torchrun started a stage that runs in one process.

    Raises:
        ConfigError: With what spreads the stage instead.
    """
    count = place_in_job().count
    if count > 1 and mode != "train":
        raise ConfigError(
            f"--mode {mode} runs in one process, and {count} were started",
            hint=SPREAD_BY.get(mode, "torchrun is for --mode train; leave it out"),
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, check, run.

    Returns:
        0 done, 1 done but for a late stage of ``--mode full``, 2 bad input, 3 audit failed, 130
        stopped by hand, 143 by SIGTERM.
    """
    speak_to_anyone()
    words = [_underscored(word) for word in (sys.argv[1:] if argv is None else argv)]
    if {"-h", "--help", "--help_all"} & {*words}:
        print_help(words)
        return 0
    parser = build_parser()
    empty = [word for word in words if word.startswith("--") and word.endswith("=--")]
    if empty:  # argparse takes the two hyphens away, and what is left is no value
        parser.error(f"{empty[0]}: '--' is no value")
    args = parser.parse_args(words)
    try:
        Path.cwd()
    except OSError:  # libraries would end the process without a word
        _say("error: the folder that this command was started in is gone\n  fix: cd to another")
        return 2
    with sigterm_interrupts():
        try:
            with told(None, "used"):
                return _run(args)
        except MriError as error:
            if args.debug:
                raise
            _say(f"error: {error}")
            return 3 if isinstance(error, AuditFailed) else 2
        except KeyboardInterrupt as stop:
            return _stopped(stop)


def _run(args: argparse.Namespace) -> int:
    # One process of a job speaks for all: the others show errors only.
    configure_logging(logging.ERROR if place_in_job().index else logging.INFO)
    refuse_torchrun(args.mode)
    if place_in_job().count > 1:
        end_with(os.getppid())
    if args.runs and args.mode != "compare":
        raise ConfigError(
            f"{args.runs[0]!r} is no flag, and only --mode compare takes names of runs",
            hint=_flag_for(args.runs[0]) or f"{COMMAND} --help-all lists every flag",
        )
    config = config_from_args(args)  # whatever can be checked without data is checked first
    keep_memory(config.keep_memory)
    if args.mode == "full":
        return run_full(config, debug=args.debug)
    written = run_stage(args.mode, config)
    if args.mode in REPORTED:
        run_report(config, written)
    return 0


def _flag_for(word: str) -> str:
    """Return the flag that a word without one was probably meant for; empty where none is near."""
    for flag, known in (("dataset", [*COHORTS, *DATASETS]), ("mode", [*STAGES, "full"])):
        near = [word] if word in known else nearest(word, known)
        if near:
            return f"--{flag} {near[0]}"
    return ""


def _stopped(stop: KeyboardInterrupt) -> int:
    """Say by whom and what is left; return the exit status."""
    ended, kept = isinstance(stop, Terminated), str(stop) or "what was finished is kept"
    by = "SIGTERM" if ended else "hand"
    if ended and place_in_job().count > 1:
        by += ", which torchrun sends when another process of this job ended"
    _say(f"stopped by {by}; {kept}")
    return 143 if ended else 130


def _say(sentence: str) -> None:
    """Print why the run ends; of a job's processes, the first to end does."""
    try:
        alone = place_in_job().count == 1
    except ConfigError:
        alone = True
    if not alone:
        from .training.processes import speaks_first  # imports torch

        if not speaks_first():
            return
        sentence = "\n" + sentence  # the progress bar of process 0 may stand in this line
    if sys.stderr is not None:  # print would take None for the standard output
        print(sentence.replace("python main.py", COMMAND), file=sys.stderr)


def _underscored(word: str) -> str:
    """``--batch-size=4`` -> ``--batch_size=4``; argparse itself makes ``--no-report``."""
    if not word.startswith("--"):
        return word
    flag, equals, value = word.partition("=")
    name = flag[2:].replace("-", "_")
    word = "--" + re.sub("^no_", "no-", name) + equals + value
    return _FORMER.get(word, word)
