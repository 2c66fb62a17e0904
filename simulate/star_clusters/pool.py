"""Mocks made by several processes, in order, with few blocks in flight."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np

from astro_io.errors import AstroError
from simulate.star_clusters.backgrounds import MosaicBackgrounds
from simulate.star_clusters.config import ClusterSetConfig
from simulate.star_clusters.mock import Mock, MockMaker, object_seed

BLOCK = 32
_IN_FLIGHT_PER_WORKER = 2
_BACKGROUND_STREAM = 1  # keeps the draw of a background apart from that of its object

Block = list[Mock]
_maker: MockMaker | None = None


class WorkerError(AstroError, RuntimeError):
    """A worker process died; the mocks written before are whole."""


def make_blocks(
    config: ClusterSetConfig,
    *,
    seed: int,
    indices: range,
    workers: int,
    backgrounds: MosaicBackgrounds | None = None,
    maker: type[MockMaker] = MockMaker,
) -> Iterator[Block]:
    """Make mocks in blocks; the results do not depend on the number of workers.

    Parameters
    ----------
    config : ClusterSetConfig
    seed : int
    indices : range
        Which objects, in the order of the result.
    workers : int
        Processes; 1 works in this one.
    backgrounds : MosaicBackgrounds, optional
        Real mosaics; they stay in this process, which sends the workers their pieces.
    maker : type
        What makes a mock.

    Yields
    ------
    list of Mock
        At most `BLOCK` of them.

    Raises
    ------
    WorkerError
        If a worker was killed, for example for want of memory.
    """
    starts = range(indices.start, indices.stop, BLOCK)
    blocks = deque(range(start, min(start + BLOCK, indices.stop)) for start in starts)
    if workers == 1 or len(blocks) < 2:
        own = maker(config)
        for block in blocks:
            yield _make_block(own, seed, block, _cut(backgrounds, seed, block))
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("spawn")
    running: deque[Future[Block]] = deque()
    with ProcessPoolExecutor(
        min(workers, len(blocks)), mp_context=context, initializer=_start, initargs=(config, maker)
    ) as pool:
        try:
            while blocks or running:
                while blocks and len(running) < _IN_FLIGHT_PER_WORKER * workers:
                    block = blocks.popleft()
                    pieces = _cut(backgrounds, seed, block)
                    running.append(pool.submit(_work, seed, block, pieces))
                yield running.popleft().result()
        except BrokenProcessPool as error:
            raise WorkerError(
                "a worker process was killed (out of memory?). The mocks made so far are kept: "
                "run the same line again, with fewer --workers."
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _cut(backgrounds: MosaicBackgrounds | None, seed: int, block: range) -> list[np.ndarray] | None:
    """Return a piece of mosaic for each object of a block."""
    if backgrounds is None:
        return None
    return [
        backgrounds.cut(np.random.default_rng([object_seed(seed, index), _BACKGROUND_STREAM]))
        for index in block
    ]


def _start(config: ClusterSetConfig, maker: type[MockMaker]) -> None:
    """Prepare a worker."""
    global _maker
    _maker = maker(config)


def _work(seed: int, block: range, pieces: list[np.ndarray] | None) -> Block:
    assert _maker is not None, "the worker was not started"
    return _make_block(_maker, seed, block, pieces)


def _make_block(
    maker: MockMaker, seed: int, block: range, pieces: list[np.ndarray] | None
) -> Block:
    return [
        maker.make(seed, index, None if pieces is None else pieces[i])
        for i, index in enumerate(block)
    ]
