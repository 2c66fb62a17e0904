"""Fields made by several processes, in order, with few in flight."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from astro_io.errors import AstroError
from astro_io.scene import Scene
from simulate.config import FieldConfig
from simulate.field import make_field
from simulate.source_table import SourceTable

_IN_FLIGHT_PER_WORKER = 2


class WorkerError(AstroError, RuntimeError):
    """A worker process died; the fields written before are whole."""


def make_fields(
    config: FieldConfig,
    *,
    seed: int,
    indices: Sequence[int],
    workers: int,
    table: SourceTable | None = None,
) -> Iterator[Scene]:
    """Simulate fields; the results do not depend on the number of workers.

    Parameters
    ----------
    config : FieldConfig
    seed : int
    indices : sequence of int
        Which fields, in the order of the result.
    workers : int
        Processes; 1 works in this one.
    table : SourceTable, optional
        Sources to simulate in place of a drawn population.

    Yields
    ------
    Scene

    Raises
    ------
    WorkerError
        If a worker was killed, for example for want of memory.
    """
    if workers == 1 or len(indices) < 2:
        for index in indices:
            yield make_field(config, seed=seed, index=index, table=table)
        return
    waiting = deque(indices)
    running: deque[Future[Scene]] = deque()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(indices)), mp_context=context) as pool:
        try:
            while waiting or running:
                while waiting and len(running) < _IN_FLIGHT_PER_WORKER * workers:
                    task = {"seed": seed, "index": waiting.popleft(), "table": table}
                    running.append(pool.submit(make_field, config, **task))
                yield running.popleft().result()
        except BrokenProcessPool as error:
            raise WorkerError(
                "a worker process was killed (out of memory?). The fields made so far are "
                "kept: run the same line again, with fewer --workers."
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
