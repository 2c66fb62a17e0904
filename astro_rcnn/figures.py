"""Pictures of an evaluation, after those of Burke et al. 2019."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astro_io.atomic import atomic_path
from astro_io.scene import CLASS_NAMES
from astro_rcnn.deblending import BLENDED_BELOW, FLUX_MIN_SNR
from astro_rcnn.metrics import IOU_THRESHOLDS, RECALL_STEPS
from astro_rcnn.scorecard import PAPER_CONFUSION, PAPER_PRECISION_AT_RECALL_80, PAPER_SCORES, number
from astro_rcnn.summary import CONFUSION_IOU, Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from astro_rcnn.evaluation import Evaluation

COLOURS = {
    "star": "#2f6fb0",
    "galaxy": "#d9822b",
    "all": "#444444",
    "ours": "#7a3e9d",
    "sep": "#999999",
}
SEP_NOTE = "SEP*: against truth cut at the isophote of its threshold"
DPI = 150

FEW = 10
"""Bins of fewer sources are drawn faint."""


def write_figures(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Draw every figure of an evaluation.

    Parameters
    ----------
    evaluation : Evaluation
    folder : Path
        Exists already.

    Returns
    -------
    list of Path
        The PNG files, written in place of older ones.
    """
    figures = {
        "precision_recall": precision_recall_figure(evaluation.ours),
        "confusion": confusion_figure(evaluation.metrics),
        "completeness": completeness_figure(evaluation.metrics),
        "deblending": deblending_figure(evaluation.ours, evaluation.sep),
        "scores": scores_figure(evaluation.ours, evaluation.sep),
        "precision_by_iou": precision_by_iou_figure(evaluation.ours),
    }
    paths = []
    for name, figure in figures.items():
        paths.append(_save(figure, folder / f"{name}.png"))
    return paths


def precision_recall_figure(summary: Summary) -> Figure:
    """Draw precision against recall, averaged over images, one curve an IoU."""
    from matplotlib import colormaps

    figure, axes = _grid(1, 2, width=11.0, height=4.2)
    recall = np.linspace(0.0, 1.0, RECALL_STEPS + 1)
    colours = colormaps["viridis"](np.linspace(0.0, 0.92, len(IOU_THRESHOLDS)))
    for panel, name in zip(axes[0], CLASS_NAMES[1:], strict=True):
        for colour, iou, curve in zip(
            colours, IOU_THRESHOLDS, summary.precision[name], strict=True
        ):
            label = f"{iou:.2f}   {number(100.0 * curve.mean())}"
            panel.plot(recall, curve, color=colour, label=label, lw=1.6)
        score = number(summary.metrics["paper"][name]["AP"])
        panel.set(
            title=f"{name}: AP {score} (paper {PAPER_SCORES[name][0]})",
            xlabel="recall",
            xlim=(0, 1.01),
            ylim=(0, 1.03),
        )
        panel.axvline(0.8, color="#bbbbbb", lw=0.8, zorder=0)
        theirs = PAPER_PRECISION_AT_RECALL_80[name] / 100.0
        panel.scatter(0.8, theirs, marker="x", color="black", zorder=3, label="paper, 0.50")
        beside = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0), "frameon": False}
        panel.legend(title="IoU    AP", fontsize=8, title_fontsize=8, **beside)
    axes[0][0].set_ylabel("precision, mean over images")
    return figure


def precision_by_iou_figure(summary: Summary) -> Figure:
    """Draw average precision against the IoU asked for, and how scores are distributed."""
    figure, axes = _grid(1, 2, width=9.0, height=4.2)
    edges = np.linspace(0.0, 1.0, 41)
    for name in (*CLASS_NAMES[1:], "combined"):
        colour = COLOURS["all" if name == "combined" else name]
        by_iou = 100.0 * summary.precision[name].mean(axis=1)
        axes[0][0].plot(IOU_THRESHOLDS, by_iou, "o-", color=colour, label=name, ms=4)
    for class_id, name in enumerate(CLASS_NAMES[1:], start=1):
        theirs = PAPER_SCORES[name][1:3]
        label = f"{name}, paper"
        axes[0][0].scatter((0.5, 0.75), theirs, marker="x", color=COLOURS[name], label=label)
        is_class = summary.found["class_id"] == class_id
        for is_true, style in ((True, "-"), (False, ":")):
            chosen = is_class & (summary.found["is_correct"] == is_true)
            chosen &= summary.found["target"] >= 0
            axes[0][1].hist(
                summary.found["score"][chosen],
                bins=edges,
                histtype="step",
                color=COLOURS[name],
                linestyle=style,
                label=f"{name}, {'true' if is_true else 'false'}",
            )
    axes[0][0].set(xlabel="mask IoU", ylabel="AP / %", ylim=(0, 102))
    axes[0][1].set(xlabel="score", ylabel="detections", yscale="log", xlim=(0, 1))
    axes[0][1].set_ylim(bottom=0.5)  # a single detection shows
    for panel in axes[0]:
        panel.legend(fontsize=8)
    return figure


def confusion_figure(metrics: Mapping[str, Any]) -> Figure:
    """Draw what true stars and galaxies were taken for, at both IoU."""
    figure, axes = _grid(1, 2, width=8.0, height=3.9)
    names = CLASS_NAMES[1:]
    for panel, iou in zip(axes[0], CONFUSION_IOU, strict=True):
        counts = np.array(metrics["confusion"][str(iou)], float)
        total = counts.sum(axis=1, keepdims=True)
        share = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
        panel.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for (row, column), value in np.ndenumerate(share):
            theirs = PAPER_CONFUSION[str(iou)][row]
            text = f"{100 * value:.1f} %\n{counts[row, column]:.0f}"
            panel.text(
                column,
                row,
                f"{text}\n(paper {100 * theirs[column] / sum(theirs):.1f} %)",
                ha="center",
                va="center",
                fontsize=9,
                color="white" if value > 0.6 else "black",
            )
        ticks = range(len(names))
        panel.set_xticks(ticks, names)
        panel.set_yticks(ticks, names, rotation=90, va="center")
        panel.set(title=f"IoU {iou}", xlabel="detected as", ylabel="truth")
    return figure


def completeness_figure(metrics: Mapping[str, Any]) -> Figure:
    """Draw completeness and purity against magnitude and nearest neighbour, SEP beside ours."""
    figure, axes = _grid(2, 2, width=10.0, height=7.0)
    sep = metrics.get("sep")
    for row, block in zip(axes, ("completeness", "purity"), strict=True):
        for panel, key in zip(row, ("magnitude", "neighbour_px"), strict=True):
            for name in ("star", "galaxy", "all"):
                _step(panel, metrics[block][key], name, COLOURS[name], name)
            if sep:
                _step(panel, sep[block][key], "all", COLOURS["sep"], "SEP, all", style="--")
            label = "nearest neighbour / px"
            if key == "magnitude":
                label = f"{'true' if block == 'completeness' else 'measured'} magnitude, "
                label += metrics[block][key]["band"]
            first, last = _filled(metrics["completeness"][key])
            if block == "purity" and key == "magnitude":
                last += 2.0  # false ones may be fainter, down to no flux at all
            panel.set(xlabel=label, ylim=(0, 105), xlim=(first, last))
        row[0].set_ylabel(f"{block} / %")
    axes[0][0].legend(fontsize=8, loc="lower left")
    figure.suptitle(f"matched by position; faint: bins of fewer than {FEW}", fontsize=10)
    return figure


def deblending_figure(ours: Summary, sep: Summary | None) -> Figure:
    """Draw mask IoU against the purity of light, and flux errors; SEP* against isophotes."""
    figure, axes = _grid(1, 2, width=10.0, height=4.0)
    finders = [("ours", ours, COLOURS["ours"])]
    if sep is not None:
        figure.suptitle(SEP_NOTE, fontsize=9)
        finders.append(("SEP*", sep, COLOURS["sep"]))
    for label, summary, colour in finders:
        block = summary.metrics["deblending"]["by_rho"]
        edges = np.asarray(block["edges"], float)
        centres = (edges[1:] + edges[:-1]) / 2
        axes[0][0].plot(centres, block["mean_iou"], "o-", color=colour, label=label)
        error = summary.truth["flux_error"]
        for blended, style in ((True, "-"), (False, ":")):
            chosen = (summary.truth["rho"] < BLENDED_BELOW) == blended
            values = error[chosen & np.isfinite(error) & ~(summary.truth["snr"] < FLUX_MIN_SNR)]
            axes[0][1].hist(
                np.clip(values, -1.0, 2.0),
                bins=np.linspace(-1.0, 2.0, 61),
                density=len(values) > 0,
                histtype="step",
                color=colour,
                linestyle=style,
                label=f"{label}, {'blended' if blended else 'isolated'}",
            )
    axes[0][0].set(xlabel="purity of light", ylabel="mean mask IoU", xlim=(0, 1), ylim=(0, 1))
    label = "flux / true flux - 1  (S/N > 20; above 2 in the last bin)"
    axes[0][1].set(xlabel=label, ylabel="density", xlim=(-1, 2.02))
    for panel in axes[0]:
        panel.legend(fontsize=8)
    return figure


def scores_figure(ours: Summary, sep: Summary | None) -> Figure:
    """Draw the reliability of the score and the star/galaxy ROC."""
    figure, axes = _grid(1, 2, width=9.0, height=4.2)
    panel = axes[0][0]
    panel.plot([0, 1], [0, 1], color="#bbbbbb", lw=1)
    temperature = ours.metrics["calibration"]["temperature"]
    labels = ("as it is", f"temperature {number(temperature, 2)}")
    for curve, label, style in zip(ours.reliability, labels, ("o-", "s--"), strict=True):
        text = f"{label}: error {number(curve.expected_error, 3)}"
        is_sure = curve.count >= FEW
        (drawn,) = panel.plot(
            *(np.where(is_sure, axis, np.nan) for axis in (curve.mean_score, curve.accuracy)),
            style,
            label=text,
            ms=4,
        )
        few = (curve.mean_score[~is_sure], curve.accuracy[~is_sure])
        panel.plot(*few, style[0], color=drawn.get_color(), alpha=0.3, ms=4)
    panel.set(xlabel="score", ylabel="share of true detections", xlim=(0, 1), ylim=(0, 1.02))
    panel.legend(fontsize=8, loc="lower right")
    for label, summary, colour in (
        ("ours", ours, COLOURS["ours"]),
        ("SEP*", sep, COLOURS["sep"]),
    ):
        if summary is None:
            continue
        area = number(summary.metrics["star_galaxy_roc"]["area"], 4)
        axes[0][1].plot(*summary.roc, color=colour, label=f"{label}: area {area}")
    axes[0][1].set(
        xlabel="stars taken for galaxies",
        ylabel="galaxies recognised",
        xlim=(-0.01, 1),
        ylim=(0, 1.01),
    )
    axes[0][1].legend(fontsize=8, loc="lower right")
    note = "" if sep is None else f"; {SEP_NOTE}"
    figure.suptitle(f"faint: bins of fewer than {FEW} detections{note}", fontsize=9)
    return figure


def _save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG."""
    with atomic_path(path, overwrite=True) as part:
        figure.savefig(part, dpi=DPI)
    return path


def _grid(rows: int, columns: int, *, width: float, height: float) -> tuple[Figure, np.ndarray]:
    """Return a figure of the given size in inches and its axes, shape (rows, columns)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _filled(block: Mapping[str, Any]) -> tuple[float, float]:
    """Return the range of the bins that hold sources, a bin to spare on either side."""
    edges = _finite_edges(block)
    filled = np.flatnonzero(np.asarray(block["all"]["n_position"]) > 0)
    first, last = (filled[0], filled[-1]) if len(filled) else (0, len(edges) - 2)
    return float(edges[max(first - 1, 0)]), float(edges[min(last + 2, len(edges) - 1)])


def _finite_edges(block: Mapping[str, Any]) -> np.ndarray:
    """Return the edges of bins; an open last one is drawn twice as wide as that before it."""
    edges = np.array(block["edges"], float)
    if np.isinf(edges[-1]):
        edges[-1] = edges[-2] + 2 * (edges[-2] - edges[-3])
    return edges


def _step(
    panel: Axes, block: Mapping[str, Any], name: str, colour: str, label: str, style: str = "-"
) -> None:
    """Draw a rate in bins as points at their middle; bins of few sources are faint."""
    edges = _finite_edges(block)
    centres = (edges[1:] + edges[:-1]) / 2
    rate, count = np.asarray(block[name]["position"]), np.asarray(block[name]["n_position"])
    is_sure = count >= FEW
    line = np.where(is_sure, rate, np.nan)
    panel.plot(centres, line, style, color=colour, label=label, lw=1.3)
    for chosen, alpha in ((~is_sure & (count > 0), 0.25), (is_sure, 1.0)):
        panel.scatter(centres[chosen], rate[chosen], color=colour, s=16, alpha=alpha, lw=0)
