"""The folder of a training run: what is in it, its history, its curves; without Keras."""

from __future__ import annotations

import csv
import math
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from astro_io.atomic import atomic_path
from astro_io.errors import BackendError, OutputExistsError

CONFIG_FILE, HISTORY_FILE, CURVES_FILE = "config.toml", "history.csv", "curves.png"
CHECKPOINTS, TENSORBOARD, LOOKS = "checkpoints", "tensorboard", "looks"

RUN_FILES = (
    CHECKPOINTS,
    TENSORBOARD,
    LOOKS,
    HISTORY_FILE,
    CURVES_FILE,
    CONFIG_FILE,
    "*.weights.h5",
    "*.entry.toml",
)

_CHECKPOINT = re.compile(r"epoch_(\d+)\.h5")

History = list[dict[str, float]]

_LOG_ABOVE = 5.0
"""Curves that fall by more than this factor are drawn on a logarithmic scale."""

_FEW_EPOCHS = 20
"""So many are drawn with dots."""


def checkpoint_path(folder: Path, epoch: int) -> Path:
    """Return where the checkpoint of `epoch` lies."""
    return folder / f"epoch_{epoch:04d}.h5"


def list_checkpoints(folder: Path) -> dict[int, Path]:
    """Return the checkpoints of a run by their finished epochs, in order.

    What an interruption left half written has another name.
    """
    found = {
        int(match[1]): path
        for path in folder.glob("epoch_*.h5")
        if (match := _CHECKPOINT.fullmatch(path.name))
    }
    return dict(sorted(found.items()))


def latest_checkpoint(folder: Path) -> tuple[Path, int] | None:
    """Return the newest checkpoint of a run and its finished epochs, or None."""
    found = list_checkpoints(folder)
    return (found[max(found)], max(found)) if found else None


def refuse_existing_run(output: Path, *, overwrite: bool) -> None:
    """Stop before the work if a folder holds a run already.

    Raises
    ------
    OutputExistsError
        If it does and `overwrite` is False.
    """
    if (output / CONFIG_FILE).exists() and not overwrite:
        raise OutputExistsError(
            f"{output} holds a run. Pass --resume to go on with it, --overwrite to start anew, or "
            "choose another --output."
        )


def remove_run(output: Path) -> None:
    """Remove what an earlier run wrote into its folder; anything else in it stays."""
    if not (output / CONFIG_FILE).exists():
        return
    for pattern in RUN_FILES:
        for path in output.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def append_history(path: Path, row: Mapping[str, float]) -> History:
    """Add an epoch to ``history.csv``, dropping later ones of an abandoned try.

    Parameters
    ----------
    path : Path
        Made if it does not exist.
    row : mapping of str to float
        With ``epoch``, counted from 1.

    Returns
    -------
    list of dict of str to float
        All epochs so far; what an epoch lacks is NaN.
    """
    rows: History = []
    if path.exists():
        with path.open(newline="") as file:
            rows = [
                {name: float(text or "nan") for name, text in old.items()}
                for old in csv.DictReader(file)
            ]
    rows = [old for old in rows if old["epoch"] < row["epoch"]] + [dict(row)]
    names = list(dict.fromkeys(name for old in rows for name in old))
    with atomic_path(path, overwrite=True) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    return rows


def draw_curves(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw each quantity over the epochs, training beside validation (``val_...``)."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    names = [n for n in history[0] if n not in ("epoch", "seconds") and not n.startswith("val_")]
    n_columns = max((len(names) + 1) // 2, 1)
    figure = Figure(figsize=(3.4 * n_columns, 5.5), layout="constrained")
    axes = list(figure.subplots(2, n_columns, squeeze=False).flat)
    for axis in axes[len(names) :]:
        axis.remove()
    epochs = [row["epoch"] for row in history]
    style = ".-" if len(history) <= _FEW_EPOCHS else "-"
    for axis, name in zip(axes, names, strict=False):
        shown = []
        for label, key in (("training", name), ("validation", f"val_{name}")):
            if any(key in row for row in history):
                values = [row.get(key, math.nan) for row in history]
                axis.plot(epochs, values, style, label=label)
                shown += [value for value in values if math.isfinite(value)]
        axis.set(title=name.replace("_", " "), xlabel="epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
        if shown and min(shown) > 0 and max(shown) > _LOG_ABOVE * min(shown):
            axis.set_yscale("log")
    figure.axes[0].legend(fontsize="small")
    with atomic_path(path, overwrite=True) as part:
        figure.savefig(part, dpi=100, format="png")


def write_tensorboard(folder: Path, row: Mapping[str, float]) -> None:
    """Write an epoch's numbers as TensorBoard scalars, with any backend.

    Raises
    ------
    BackendError
        If tensorboardX is not installed.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise BackendError(
            "TensorBoard log: tensorboardX is not installed. Run: pip install tensorboardX."
        ) from error
    with SummaryWriter(str(folder), filename_suffix=f".{int(row['epoch'])}") as writer:
        for name, value in row.items():
            if name != "epoch":
                writer.add_scalar(name.replace("val_", "validation/"), value, int(row["epoch"]))
