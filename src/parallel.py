"""Many calls of one function, in processes of this machine or on the workers of a Dask cluster.

joblib's own Dask backend waits without end when workers cannot import a function, or when all of
them are gone, so Dask is spoken to directly. It runs a call again whose worker was lost. Dask is
imported here only, and only when the address of a scheduler is given.
"""

from __future__ import annotations

import os
import pickle
import socket
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

from .errors import MriError
from .optional import install_command
from .runtime import end_with, keep_memory, progress

Item = TypeVar("Item")
Result = TypeVar("Result")
_CONNECT = 5  # seconds until a scheduler must have answered
_PATIENCE = 30.0  # seconds without any worker until that is an error
_START = (
    "start scheduler and workers in the project's folder with `python -m dask scheduler` and "
    "`python -m dask worker ADDRESS`, in this same Python environment"
)


def run_parallel(
    function: Callable[..., Result],
    items: Sequence[Item],
    *,
    workers: int,
    dask: str | None = None,
    desc: str = "",
    shared: Any = None,
    folder: Path | None = None,
    name: Callable[[Item], str] = str,
) -> Iterator[Result]:
    """Yield ``function(item)`` of every item behind a progress bar, in the order they are done.

    Args:
        function: A function of a module, so that other processes can import it.
        items: What it is called with.
        workers: Processes on this machine; one is this process itself.
        dask: Address of a running Dask scheduler, whose workers are used instead. A call whose
            worker is lost runs again on another: the function looks first whether its work is
            done already.
        desc: Name of the progress bar.
        shared: Something large that every call needs, such as a network: the calls are
            ``function(item, shared)``. With `dask` it goes to a worker once; here it takes one
            worker, since joblib waits without end for a process that fails to unpack it.
        folder: Folder that the function writes to; with `dask`, every worker must see it.
        name: What an item is called in a message.

    Raises:
        MriError: A worker was killed, or the cluster cannot be reached or used.
        ValueError: Something is shared with several workers of this machine.
        Exception: Whatever the function raises.
    """
    if not items:
        return
    results: Iterator[Result]
    if dask is not None:
        results = run_on_cluster(
            function, items, address=dask, shared=shared, folder=folder, name=name
        )
    else:
        results = _run_here(function, items, min(workers, len(items)), shared)
    yield from progress(results, total=len(items), desc=desc)


def _run_here(
    function: Callable[..., Result], items: Sequence[Item], workers: int, shared: Any
) -> Iterator[Result]:
    if shared is not None and workers > 1:
        raise ValueError("what calls share is not sent to other processes of this machine")
    more = () if shared is None else (shared,)
    calls = (delayed(function)(item, *more) for item in items)
    # Other arguments make other workers, so a notebook may move to another folder between calls.
    here = (os.getpid(), str(Path.cwd()))
    started = {"initializer": _begin, "initargs": here} if workers > 1 else {}
    try:
        yield from Parallel(workers, return_as="generator_unordered", **started)(calls)
    except TerminatedWorkerError:
        raise MriError(
            "a worker process was killed, most often for lack of memory; finished work is kept",
            hint=f"run the same command with --workers {max(workers // 2, 1)}",
        ) from None


def _begin(parent: int, folder: str) -> None:
    """Begin a worker of this machine: it ends with its parent, and relative paths are the same."""
    end_with(parent)
    os.chdir(folder)


def run_on_cluster(
    function: Callable[..., Any],
    items: Sequence[Any],
    *,
    address: str,
    shared: Any,
    folder: Path | None,
    name: Callable[[Any], str],
) -> Iterator[Any]:
    """Yield ``function(item)``, or ``function(item, shared)``, as workers finish them.

    Args:
        function: Of a module that the workers can import.
        items: What it is called with.
        address: Of the scheduler, such as ``tcp://host:8786``.
        shared: None, or what every call needs; it goes to a worker once.
        folder: None, or a folder that every worker must see.
        name: What an item is called in a message.

    Raises:
        MriError: What is wrong with the cluster. Errors of `function` come as they are.
    """
    with _connected(address) as client, _marker(folder) as marker:
        _wait_for_a_worker(client, address)
        _check_imports(client, address)
        everywhere = None
        if shared is not None:  # as bytes: only workers unpack it, and a lost copy is made again
            everywhere = client.submit(pickle.loads, pickle.dumps(shared), pure=False)
        run = uuid.uuid4().hex
        names = {f"{run}-{index}": name(item) for index, item in enumerate(items)}
        calls = [pickle.dumps((function, item)) for item in items]
        told = (everywhere, shared is not None, marker, keep_memory())
        same = ([one] * len(calls) for one in told)
        futures = client.map(_call, calls, *same, key=list(names))
        try:
            yield from _gather(client, set(futures), address, names)
        finally:
            client.cancel([one for one in futures if not one.done()])


def _call(call: bytes, shared: Any, with_shared: bool, marker: Path | None, kept: bool) -> Any:
    """Run one call; on a worker, which keeps its memory where the caller does."""
    keep_memory(kept)
    if marker is not None and not marker.is_file():
        raise MriError(
            f"the Dask worker on {socket.gethostname()}, in {Path.cwd()}, does not see "
            f"{marker.parent}",
            hint="put the data on a file system that all machines share, and start the workers "
            "where the same paths lead to them",
        )
    function, item = pickle.loads(call)  # noqa: S301 - from the client that called
    return function(item, shared) if with_shared else function(item)


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    try:
        import dask
        from distributed import Client
    except ModuleNotFoundError as error:
        raise MriError(
            f"--dask needs {error.name}, which is not installed", hint=install_command("cluster")
        ) from None
    # A network is sent once, on purpose: Dask's warning of large graphs does not apply.
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "4GB"}):
        try:
            client = Client(address, timeout=_CONNECT, set_as_default=False)
        except (OSError, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise MriError(
                f"no Dask scheduler answers at {address}: {reason}",
                hint="start one with `python -m dask scheduler`, and give the address that it logs",
            ) from None
        with client:
            yield client


@contextmanager
def _marker(folder: Path | None) -> Iterator[Path | None]:
    """Put a file into `folder` while the block runs: who sees it sees no namesake of it."""
    if folder is None:
        yield None
        return
    folder.mkdir(parents=True, exist_ok=True)
    marker = folder / f".seen_{uuid.uuid4().hex}"
    marker.touch()
    try:
        yield marker
    finally:
        marker.unlink(missing_ok=True)


def _wait_for_a_worker(client: Any, address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=_PATIENCE)
    except TimeoutError:
        raise MriError(
            f"no worker has joined {address} in {_PATIENCE:g} seconds",
            hint=f"start one with `python -m dask worker {address}` in the project's folder",
        ) from None


def _check_imports(client: Any, address: str) -> None:
    """Refuse machines without this project: sent a call, a worker would end without a word."""
    try:
        client.run_on_scheduler(import_module, __name__)
        client.run(import_module, __name__)
    except ModuleNotFoundError as error:
        raise _cannot_import(address, error) from None


def _cannot_import(address: str, error: ModuleNotFoundError) -> MriError:
    return MriError(f"the Dask cluster at {address} cannot import {error.name}", hint=_START)


def _gather(client: Any, waiting: set[Any], address: str, names: dict[str, str]) -> Iterator[Any]:
    """Yield results as they come; look now and then whether any worker is left."""
    from distributed import as_completed

    alone = False  # no worker at the last look
    while waiting:
        # With results: they are fetched at once, so a worker that is lost takes few with it.
        done = as_completed(
            waiting, with_results=True, raise_errors=False, timeout=_PATIENCE / 2, loop=client.loop
        )
        try:
            for future, result in done:
                waiting.discard(future)
                if future.status != "finished":
                    raise _reason(future, result, address, names)
                yield result
        except TimeoutError:
            nobody = not client.scheduler_info(n_workers=-1)["workers"]
            if alone and nobody:
                raise MriError(
                    f"all workers of {address} are gone; finished work is kept",
                    hint="their logs tell why; start some with `python -m dask worker "
                    f"{address}` and run the same again",
                ) from None
            alone = nobody


def _reason(future: Any, result: Any, address: str, names: dict[str, str]) -> BaseException:
    """Return what to raise for a call that has no result."""
    from distributed import KilledWorker

    error = result[1] if future.status == "error" else None
    if isinstance(error, KilledWorker):
        return MriError(
            f"{names.get(error.task, error.task)}: {error.allowed_failures + 1} workers were "
            "killed on it, one after the other, most often for lack of memory",
            hint="give the workers more memory or fewer threads; their logs tell more",
        )
    if error is None:
        return MriError(
            f"the Dask scheduler at {address} is lost; finished work is kept",
            hint="start it and its workers again, then run the same command",
        )
    if isinstance(error, ModuleNotFoundError):
        return _cannot_import(address, error)
    assert isinstance(error, BaseException)
    return error
