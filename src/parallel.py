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
    if shared is not None and workers > 1:
        raise ValueError("what calls share is not sent to other processes of this machine")
    more = () if shared is None else (shared,)
    calls = (delayed(function)(item, *more) for item in items)
    try:
        yield from Parallel(workers, return_as="generator_unordered")(calls)
    except TerminatedWorkerError:
        raise MriError(
            "a worker process was killed, most often for lack of memory; finished work is kept",
            hint=f"run the same command with --workers {max(workers // 2, 1)}",
        ) from None
