"""Many images of any size to result files: tile by tile, image by image, and resumable.

The statistics of an image are measured once; its tiles are detected one small batch at a time;
sources at the seams are kept once; everything is measured on the whole image. What is finished
is skipped on the next run, what is half-done goes on from its last tile, and an image that
cannot be done is recorded while the others are.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from astro_io.atomic import atomic_path
from astro_io.catalog import write_catalog
from astro_io.cli import progress
from astro_io.errors import AstroError, BackendError, ConfigError, ImageError
from astro_io.fits_read import read_image
from astro_io.fits_write import write_masks, write_segmentation
from astro_io.image import SkyImage
from astro_io.input_spec import FitsFile, image_name, resolve_input
from astro_io.provenance import provenance
from astro_io.regions import write_regions
from astro_rcnn.config import ANY_BAND
from astro_rcnn.detections import Detections
from astro_rcnn.jobs import Job, SurveyConfig, is_finished, plan_jobs
from astro_rcnn.tiled import AnyDetector, detect_tiled

log = logging.getLogger(__name__)

FAILURES_FILE = "failed.json"
"""In the output folder: the images that could not be done, and why."""

CONNECT_TIMEOUT = "10s"
"""How long a Dask scheduler may take to answer."""

LoadDetector = Callable[[SurveyConfig], AnyDetector]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one image: done, finished earlier (`is_skipped`), or failed (`error`)."""

    job: Job
    n_by_class: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    is_skipped: bool = False
    error: str = ""


def process_image(job: Job, config: SurveyConfig, load: LoadDetector) -> Outcome:
    """Detect, measure and write one image; replace older results, go on from a killed run.

    Parameters
    ----------
    job : Job
    config : SurveyConfig
    load : callable
        Makes the detector; called after the image has been read if its bands are known before.

    Returns
    -------
    Outcome

    Raises
    ------
    AstroError
        If the image cannot be read, or lacks a band.
    """
    from astro_rcnn.measure import measure_sources

    start = time.monotonic()
    bands = config.network_bands or load(config).bands
    image = read_bands(job.spec, bands, config).binned(config.bin)
    gains = _gains(image, config.gain)
    detector = load(config)
    cache = job.cache(config)
    cache.begin()
    detections, flags = detect_tiled(
        image,
        detector,
        tile=config.tile,
        overlap=config.overlap,
        batch_size=config.batch_size,
        cache=cache,
    )
    table = measure_sources(image, detections, flags=flags, gain_e=gains)
    table.meta.update(
        provenance(
            command=job.command or None,
            image=job.name,
            inputs=", ".join(image.sources),
            weights=config.weights,
            weights_sha256=config.weights_sha256,
            fingerprint=cache.key,
        )
    )
    table.meta["config"] = asdict(config)
    table.meta["detector"] = dict(detector.describe())
    _write_results(job, config, image, detections, table)
    cache.clear()
    names = detections.class_names
    counts = np.bincount(detections.class_ids, minlength=len(names))
    return Outcome(
        job=job,
        n_by_class={name: int(counts[i]) for i, name in enumerate(names) if i > 0},
        seconds=time.monotonic() - start,
    )


def read_bands(spec: str, bands: Sequence[str], config: SurveyConfig) -> SkyImage:
    """Read the bands that a network wants; say which weights fit where they are not there.

    Raises
    ------
    ImageError
        If the image cannot be read, or lacks a band.
    """
    if tuple(bands) == ANY_BAND:
        return _read_one_band(spec, config)
    if config.bands:
        found: Sequence[str] = config.bands
    else:
        files = resolve_input(spec)
        found = [] if isinstance(files, FitsFile) else list(files)
    if found and not set(bands) <= set(found):
        raise ImageError(_wrong_bands(image_name(spec), bands, found, config))
    wanted = config.bands or (tuple(bands) if found else None)
    image = read_image(spec, bands=wanted, align=config.align)
    if not set(bands) <= set(image.bands):
        raise ImageError(_wrong_bands(image.name, bands, image.bands, config))
    return image if image.bands == tuple(bands) else image.select(bands)


def _read_one_band(spec: str, config: SurveyConfig) -> SkyImage:
    """Read an image for a network that takes any one band."""
    image = read_image(spec, bands=config.bands or None, align=config.align)
    if len(image.bands) != 1:
        raise ImageError(
            f"{image.name}: expected one band for {config.weights}; found "
            f"{', '.join(image.bands)}. Choose one (--bands {image.bands[0]})."
        )
    return image


def run_survey(
    specs: Sequence[str | Path],
    output: str | Path,
    config: SurveyConfig,
    load: LoadDetector,
    *,
    overwrite: bool = False,
    scheduler: str | None = None,
) -> list[Outcome]:
    """Do many images.

    Parameters
    ----------
    specs : sequence of str or Path
        Inputs.
    output : str or Path
        Folder of the results; made where needed.
    config : SurveyConfig
    load : callable
        Makes the detector; called once in each process that needs one, after outputs have been
        checked. With a scheduler it has to be importable there.
    overwrite : bool
        Do finished images again, and replace results made by other settings.
    scheduler : str, optional
        Address of a Dask scheduler, or ``local`` for one on this machine: one task an image.

    Returns
    -------
    list of Outcome
        In the order of `specs`. Failures are in ``failed.json`` as well.

    Raises
    ------
    AstroError
        If outputs are in the way, or the only image there is cannot be done.
    """
    jobs = plan_jobs(specs, output)
    if config.catalog_format == "parquet":
        _require("pyarrow", "Parquet catalogues need pyarrow (pip install pyarrow).")
    finished = {job.name: is_finished(job, config, overwrite=overwrite) for job in jobs}
    for job in jobs if overwrite else ():  # no file of other settings stays beside the new ones
        for path in set(job.possible_paths(config)) - set(job.paths(config).values()):
            path.unlink(missing_ok=True)
    outcomes = {job.name: Outcome(job=job, is_skipped=True) for job in jobs if finished[job.name]}
    todo = [job for job in jobs if not finished[job.name]]
    results = _process_all(todo, config, load, scheduler, is_alone=len(jobs) == 1)
    if len(jobs) > 1:
        results = progress(results, description="images", total=len(todo), unit="image")
    for outcome in results:
        if len(jobs) == 1 and outcome.error:
            raise ImageError(outcome.error)
        outcomes[outcome.job.name] = outcome
        _say(outcome)
        _record_failures(Path(output), list(outcomes.values()))
    return [outcomes[job.name] for job in jobs]


def load_network(config: SurveyConfig) -> AnyDetector:
    """Load the weights that the settings name. Keras is imported here and not before."""
    with _remarks_set_aside():
        from astro_rcnn.detector import Detector

    thresholds = {"min_confidence": config.min_score, "detection_nms_iou": config.nms_iou}
    return Detector.load(
        config.weights,
        engine=config.engine,
        max_detections=config.max_detections,
        **{name: value for name, value in thresholds.items() if value is not None},
    )


def _gains(image: SkyImage, gain: Sequence[float]) -> Sequence[float] | None:
    """Return electrons in one unit of flux of each band, None where nobody knows them."""
    if len(gain) not in (0, 1, len(image.bands)):
        raise ConfigError(
            f"--gain: expected one number, or one for each of {', '.join(image.bands)}; found "
            f"{', '.join(f'{g:g}' for g in gain)}."
        )
    return tuple(gain) * len(image.bands) if len(gain) == 1 else gain or None


def _write_results(
    job: Job, config: SurveyConfig, image: SkyImage, detections: Detections, table: Any
) -> None:
    """Write all files, each in one step; the catalogue, which says that all is there, last."""
    from astro_rcnn.overlay import draw_overlay

    paths = job.paths(config)
    paths["catalog"].unlink(missing_ok=True)
    ids = np.asarray(table["source_id"])
    common: dict[str, Any] = {"source_ids": ids, "wcs": image.wcs, "overwrite": True}
    write_masks(paths["masks"], detections, **common)
    write_segmentation(paths["segmentation"], detections, image.shape, **common)
    write_regions(paths["regions"], table, wcs=image.wcs, overwrite=True)
    if config.has_overlay:
        draw_overlay(paths["overlay"], image, detections, title=job.name, overwrite=True)
    write_catalog(paths["catalog"], table, config.catalog_format, overwrite=True)


def _wrong_bands(
    name: str, wanted: Sequence[str], found: Sequence[str], config: SurveyConfig
) -> str:
    """Say that bands do not fit, and which weights of the registry would."""
    from astro_io.weights import registry

    fitting = [
        known
        for known, entry in registry().items()
        if entry.bands and set(entry.bands) <= set(found)
    ]
    one = "" if len(found) == 1 else f" --bands {found[0]}"
    fitting += [f"{k}{one}" for k, entry in registry().items() if entry.bands == ANY_BAND]
    remedy = (
        f"Use --weights {' or '.join(fitting)}"
        if fitting
        else f"No weights at hand know {', '.join(found)}: train some (python -m astro_rcnn.train)"
    )
    weights = f" of {config.weights}" if config.weights else ""
    return (
        f"{name}: expected bands {', '.join(wanted)}{weights}; found {', '.join(found)}. "
        f"{remedy}, or, if the names are wrong, name the planes in order (--bands)."
    )


@contextmanager
def _remarks_set_aside() -> Iterator[None]:
    """Keep what TensorFlow says of processors on import off stderr; tell it with --verbose.

    It comes from compiled code before any log level counts, so the file descriptor is turned.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryFile() as aside:
        sys.stderr.flush()
        original = os.dup(2)
        os.dup2(aside.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(original, 2)
            os.close(original)
            aside.seek(0)
            for line in aside.read().decode(errors="replace").splitlines():
                log.debug("%s", line)


def _process_all(
    jobs: Sequence[Job],
    config: SurveyConfig,
    load: LoadDetector,
    scheduler: str | None,
    *,
    is_alone: bool,
) -> Iterator[Outcome]:
    """Do images here or on a cluster; only that of a lone image lets its error through."""
    if not jobs:
        return
    if scheduler:
        yield from _process_on_cluster(jobs, config, load, scheduler)
        return
    if is_alone:
        yield process_image(jobs[0], config, partial(_detector_of_this_process, load))
        return
    _detector_of_this_process(load, config)  # if it cannot be had, no image can be done
    for job in jobs:
        yield _process_or_record(job, config, load)


def _process_or_record(job: Job, config: SurveyConfig, load: LoadDetector) -> Outcome:
    """Do one image of several; a failure is an outcome."""
    try:
        return process_image(job, config, partial(_detector_of_this_process, load))
    except Exception as error:
        log.debug("%s failed", job.name, exc_info=True)
        is_known = isinstance(error, AstroError | OSError)
        message = str(error) if is_known else f"{type(error).__name__}: {error}"
        return Outcome(job=job, error=" ".join(message.split()))


_loaded: dict[tuple[LoadDetector, SurveyConfig], AnyDetector] = {}
_loading = threading.Lock()


def _detector_of_this_process(load: LoadDetector, config: SurveyConfig) -> AnyDetector:
    """Return the one detector of this process, loaded when first needed."""
    with _loading:
        if (load, config) not in _loaded:
            _loaded.clear()
            _loaded[load, config] = load(config)
        return _loaded[load, config]


def _process_on_cluster(
    jobs: Sequence[Job], config: SurveyConfig, load: LoadDetector, scheduler: str
) -> Iterator[Outcome]:
    """Do images on a Dask cluster, one task each, and yield them as they get done."""
    _require("distributed", "--scheduler needs Dask (pip install 'astro-rcnn[dask]').")
    from distributed import as_completed

    with _dask_client(scheduler, n_jobs=len(jobs)) as client:
        futures = {
            client.submit(_process_or_record, job, config, load, pure=False): job for job in jobs
        }
        for future in as_completed(futures):
            error = future.exception()
            if error is None:
                yield future.result()
            else:
                yield Outcome(job=futures[future], error=f"the worker was lost ({error})")


@contextmanager
def _dask_client(scheduler: str, *, n_jobs: int) -> Iterator[Any]:
    """Connect to a scheduler, or start one here and stop it in the end."""
    from distributed import Client, LocalCluster

    with ExitStack() as stack:
        address: Any = scheduler
        if scheduler == "local":
            address = stack.enter_context(
                LocalCluster(
                    n_workers=min(n_jobs, _n_local_workers()),
                    threads_per_worker=1,
                    dashboard_address=None,
                )
            )
        try:
            client = Client(address, timeout=CONNECT_TIMEOUT)
        except (OSError, ValueError) as error:
            raise BackendError(
                f"--scheduler {scheduler}: no Dask scheduler answers ({error}). "
                "Start one (dask scheduler), or pass --scheduler local."
            ) from error
        yield stack.enter_context(client)


def _n_local_workers() -> int:
    """Return how many networks fit side by side: one for every two cores."""
    return max(1, (os.cpu_count() or 1) // 2)


def _require(module: str, message: str) -> None:
    if find_spec(module) is None:
        raise BackendError(message)


def _say(outcome: Outcome) -> None:
    """Log what became of an image."""
    if outcome.error:
        log.error("%s: failed: %s", outcome.job.name, outcome.error)
    else:
        n = sum(outcome.n_by_class.values())
        log.info("%s: %d sources in %.1f s", outcome.job.name, n, outcome.seconds)


def _record_failures(output: Path, outcomes: Sequence[Outcome]) -> None:
    """Keep the list of failures in the output folder; no file where there is none."""
    path = output / FAILURES_FILE
    names = {outcome.job.name for outcome in outcomes}
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    failed = [record for record in earlier if record["name"] not in names]
    failed += [
        {"input": outcome.job.spec, "name": outcome.job.name, "error": outcome.error}
        for outcome in outcomes
        if outcome.error
    ]
    if failed:
        with atomic_path(path, overwrite=True) as part:
            part.write_text(json.dumps(failed, indent=2) + "\n", encoding="utf-8")
    else:
        path.unlink(missing_ok=True)
