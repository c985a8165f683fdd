"""Runs side by side, each in one of several processes with one thread."""

from __future__ import annotations

import multiprocessing
import signal
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from threading import RLock

import torch

from benchmarks.frontier.protocol import Run, Task, run_task
from dpo_lightning.utils.processes import end_with_parent


def work(tasks: Sequence[Task], root: Path, workers: int) -> Iterator[tuple[Task, Run | Exception]]:
    """Make runs, and yield each when it ends, or the error that ended it.

    The processes end with the iteration, however it ends.

    Args:
        tasks: What to run; begun in this order.
        root: Directory of the lab, which is there.
        workers: Processes at a time.
    """
    with _pool(min(workers, len(tasks))) as pool:
        pending: dict[Future[Run], Task] = {pool.submit(run_task, task, root): task for task in tasks}
        for future in as_completed(pending):
            error = future.exception()
            if error is None:
                yield pending[future], future.result()
            elif isinstance(error, Exception):
                yield pending[future], error
            else:
                raise error


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_begin)
    try:
        yield pool
    except BaseException:
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Set up a worker: quiet, one thread, and it ends when its parent does."""
    import datasets
    import transformers
    from tqdm import tqdm

    # Its own one is a semaphore, which Python would report as leaked by a worker that is killed.
    tqdm.set_lock(RLock())
    torch.set_num_threads(1)  # tensors this small: a second thread costs more than it brings
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends the workers
    end_with_parent()
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore")  # Lightning's hints about a run that is meant to be small
