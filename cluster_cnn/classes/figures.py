"""Pictures of classes: confusion matrix, entropy, band ablation, galleries of stamps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from astro_io.atomic import atomic_path

COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red")
_STRETCH_SIGMA = 2.0
_MAD_TO_SIGMA = 1.4826


def draw_confusion(
    path: Path,
    percent: np.ndarray,
    below: np.ndarray,
    class_ids: Sequence[int],
    title: str,
) -> None:
    """Draw a confusion matrix, rows (truth) in per cent, as figure 4 of Wei et al.

    Parameters
    ----------
    path : Path
    percent : ndarray of float, shape (C, C)
        NaN, of a class without objects, is drawn as 0.
    below : ndarray of str, shape (C, C)
        Second line of each cell: a count, or a deviation.
    class_ids : sequence of int
    title : str
    """
    percent = np.nan_to_num(np.asarray(percent, float))
    figure = _figure(4.2, 3.9)
    axis = figure.subplots()
    axis.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    for (row, column), share in np.ndenumerate(percent):
        axis.text(
            column,
            row,
            f"{share:.1f}\n{below[row][column]}",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if share > 50 else "black",
        )
    names = [f"class {i}" for i in class_ids]
    places = range(len(names))
    axis.set(xticks=places, yticks=places, xlabel="predicted", ylabel="true", title=title)
    axis.set_xticklabels(names)
    axis.set_yticklabels(names)
    _save(figure, path)


def draw_entropy(
    path: Path,
    truth: np.ndarray,
    chosen: np.ndarray,
    entropy: np.ndarray,
    class_ids: Sequence[int],
) -> None:
    """Draw how the entropy of right and of wrong answers is distributed, class by class.

    Parameters
    ----------
    path : Path
    truth, chosen : ndarray of int, shape (N,)
    entropy : ndarray of float, shape (N,)
        In nats.
    class_ids : sequence of int
    """
    largest = np.log(len(class_ids))
    edges = np.linspace(0, largest, 25)
    figure = _figure(3.0 * len(class_ids), 2.8)
    axes = figure.subplots(1, len(class_ids), sharex=True, squeeze=False)[0]
    for axis, class_id in zip(axes, class_ids, strict=True):
        own = (chosen == class_id) & np.isfinite(entropy)
        right = own & (truth == class_id)
        axis.hist(entropy[right], edges, color="tab:blue", alpha=0.8, label="right")
        axis.hist(
            entropy[own & ~right], edges, histtype="step", lw=1.6, color="tab:red", label="wrong"
        )
        axis.set(title=f"called class {class_id}", xlabel="entropy (nats)")
        axis.set_yscale("symlog")
        axis.axvline(largest, color="grey", ls=":", lw=1)
    axes[0].set_ylabel("objects")
    axes[0].legend(fontsize=8)
    _save(figure, path)


def draw_ablation(path: Path, scores: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw the accuracy of each class with all bands and with one missing.

    Parameters
    ----------
    path : Path
    scores : mapping of str to `class_scores`
        By what is missing; the first is without loss.
    """
    names = list(scores)
    class_names = list(scores[names[0]]["per_class"])
    figure = _figure(1.3 * len(names) + 1.5, 3.0)
    axis = figure.subplots()
    place, width = np.arange(len(names)), 0.8 / (len(class_names) + 1)
    for k, label in enumerate(["all", *class_names]):
        values = [
            scores[n]["accuracy"] if label == "all" else scores[n]["per_class"][label]
            for n in names
        ]
        colour = "0.3" if label == "all" else COLOURS[(k - 1) % len(COLOURS)]
        legend = "all classes" if label == "all" else f"class {label}"
        axis.bar(
            place + (k - len(class_names) / 2) * width, values, width, color=colour, label=legend
        )
    axis.set(xticks=place, ylabel="right (%)", ylim=(0, 100))
    axis.set_xticklabels([names[0], *(f"no {name}" for name in names[1:])])
    axis.grid(axis="y", alpha=0.3)
    axis.legend(fontsize=7, ncol=len(class_names) + 1, loc="lower center")
    _save(figure, path)


def draw_gallery(
    path: Path, rows: Sequence[tuple[str, np.ndarray, Sequence[str]]], *, title: str = ""
) -> None:
    """Draw rows of stamps, such as the most and the least certain of a class.

    Parameters
    ----------
    path : Path
    rows : sequence of (str, ndarray of float, sequence of str)
        Label of the row, stamps of shape (n, H, W, B), a line over each.
    title : str
    """
    n_columns = max((len(stamps) for _, stamps, _ in rows), default=0) or 1
    figure = _figure(1.15 * n_columns + 0.4, 1.35 * max(len(rows), 1) + 0.35)
    axes = figure.subplots(max(len(rows), 1), n_columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for line, (label, stamps, notes) in zip(axes, rows, strict=False):
        for axis, stamp, note in zip(line, stamps, notes, strict=False):
            axis.imshow(picture(stamp), origin="lower")
            axis.set_title(note, fontsize=6, pad=2)
        line[0].text(
            -0.08,
            0.5,
            label,
            rotation=90,
            ha="right",
            va="center",
            fontsize=7,
            transform=line[0].transAxes,
        )
    if title:
        figure.suptitle(title, fontsize=9)
    _save(figure, path)


def picture(stamp: np.ndarray) -> np.ndarray:
    """Return a stamp as RGB: reddest band red, bluest with data blue; arcsinh about its noise.

    Parameters
    ----------
    stamp : ndarray of float, shape (H, W, B)
        Flux, bands from blue to red; NaN where there is no data.

    Returns
    -------
    ndarray of float, shape (H, W, 3)
        In 0..1.
    """
    present = [b for b in range(stamp.shape[2]) if np.isfinite(stamp[..., b]).any()]
    if not present:
        return np.zeros((*stamp.shape[:2], 3))
    planes = [_stretched(stamp[..., b]) for b in present]
    blue, red = planes[len(planes) // 2 - (len(planes) > 2)], planes[-1]
    green = (blue + red) / 2 if len(planes) < 3 else planes[-2]
    return np.stack([red, green, blue], axis=-1)


def _stretched(plane: np.ndarray) -> np.ndarray:
    good = np.isfinite(plane)
    level = np.median(plane[good])
    noise = _MAD_TO_SIGMA * np.median(np.abs(plane[good] - level)) or 1.0
    bent = np.arcsinh((np.where(good, plane, level) - level) / (_STRETCH_SIGMA * noise))
    height, width = plane.shape
    centre = bent[height // 4 : -(height // 4) or None, width // 4 : -(width // 4) or None]
    top = max(float(centre.max()), 1.5)
    return np.clip((bent + 0.5) / (top + 0.5), 0, 1)


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Any, path: Path) -> None:
    with atomic_path(path, overwrite=True) as part:
        figure.savefig(part, dpi=110, format="png")
