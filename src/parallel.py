"""Many calls of one function, in processes of this machine or on the workers of a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

from .errors import MriError
from .runtime import progress

Item = TypeVar("Item")
Result = TypeVar("Result")

_shared: Any = None  # in a worker process: what all its calls share


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
        shared: Something large that every call needs, such as a network: it goes to a worker
            once, and the calls are ``function(item, shared)``.
        folder: Folder that the function writes to; with `dask`, every worker must see it.
        name: What an item is called in a message.

    Raises:
        MriError: A worker was killed, or the cluster cannot be reached or used.
        Exception: Whatever the function raises.
    """
    if not items:
        return
    results: Iterator[Result]
    if dask is not None:
        from .cluster import run_on_cluster

        results = run_on_cluster(
            function, items, address=dask, shared=shared, folder=folder, name=name
        )
    else:
        results = _run_here(function, items, min(workers, len(items)), shared)
    yield from progress(results, total=len(items), desc=desc)


def _run_here(
    function: Callable[..., Result], items: Sequence[Item], workers: int, shared: Any
) -> Iterator[Result]:
    calls: Iterator[Any] = (delayed(function)(item) for item in items)
    once: dict[str, Any] = {}
    if shared is not None and workers == 1:
        calls = (delayed(function)(item, shared) for item in items)
    elif shared is not None:
        once = {"initializer": _keep, "initargs": (shared,)}
        calls = (delayed(_call_shared)(function, item) for item in items)
    try:
        yield from Parallel(workers, return_as="generator_unordered", **once)(calls)
    except TerminatedWorkerError:
        raise MriError(
            "a worker process was killed, most often for lack of memory; finished work is kept",
            hint=f"run the same command with --workers {max(workers // 2, 1)}",
        ) from None


def _keep(shared: Any) -> None:
    global _shared
    _shared = shared


def _call_shared(function: Callable[..., Result], item: Any) -> Result:
    return function(item, _shared)
