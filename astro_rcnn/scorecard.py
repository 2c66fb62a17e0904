"""The scores as text, the paper's numbers beside ours, and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

COLUMNS = ("AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L")

PAPER_SCORES: dict[str, tuple[float | None, ...]] = {
    "star": (48.6, 86.8, 32.3, 86.8, None, None),
    "galaxy": (49.6, 83.9, 42.0, 75.3, 7.6, 0.3),
    "combined": (49.0, 84.2, 39.8, 76.4, 7.0, 0.3),
}
"""Burke et al. 2019, table 1, in the order of `COLUMNS`."""

PAPER_DEEP_SCORES: dict[str, tuple[float | None, ...]] = {
    "star": (None, 52.0, None, None, None, None),
    "galaxy": (None, 7.6, None, None, None, None),
}
"""Burke et al. 2019, its field of a deep exposure, in the order of `COLUMNS`."""

DEEP_PRESET = "decam-deep"
"""The preset of `simulate.fields` that stands for that field."""

PAPER_PRECISION_AT_RECALL_80 = {"star": 92.0, "galaxy": 98.0, "combined": None}
PAPER_CONFUSION = {"0.5": ((585, 39), (78, 6302)), "0.75": ((330, 68), (333, 6273))}

DEBLENDING_ROWS = (
    ("found, IoU 0.5", "found"),
    ("mean mask IoU", "mean_iou"),
    ("flux wrong by 25 %, S/N > 20", "flux_error_outliers"),
)
"""What is printed for isolated and for blended sources, and its name in ``deblending``."""

_SIGNIFICANT_DIGITS = 6


def plain(value: Any) -> Any:
    """Turn scores into what JSON knows: NaN and infinity become None, arrays lists.

    Parameters
    ----------
    value : any nesting of dict, sequence, ndarray and number
        Floats are rounded to six significant digits.

    Returns
    -------
    any nesting of dict, list, str, bool, int, float and None
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return float(f"{value:.{_SIGNIFICANT_DIGITS}g}") if math.isfinite(value) else None
    return value


def scorecard(metrics: Mapping[str, Any]) -> str:
    """Lay out the scores as a text table, without a line break at the end.

    Parameters
    ----------
    metrics : mapping
        Content of ``metrics.json``; blocks that are missing are left out.
    """
    parts = [_precision_table(metrics), _confusion_table(metrics)]
    if "sep" in metrics:
        parts.append(_sep_table(metrics))
    parts.append(_other_scores(metrics))
    return "\n\n".join(parts)


def headline(metrics: Mapping[str, Any]) -> str:
    """Say the most important in one line."""
    scores = ", ".join(
        f"{name} AP {number(row['AP'])} AP50 {number(row['AP50'])}"
        for name, row in metrics["paper"].items()
        if name != "combined"
    )
    return (
        f"{metrics['n_images']} images, {metrics['n_star']} stars, "
        f"{metrics['n_galaxy']} galaxies: {scores}"
    )


def card_scores(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the scores that a model card shows, per cent to one decimal, by name.

    Parameters
    ----------
    metrics : mapping
        Content of ``metrics.json``.

    Returns
    -------
    dict of str to float
        What there is nothing to score for is left out.
    """
    scores = {
        f"{name}_{column}": metrics["paper"][name][column]
        for name in ("star", "galaxy")
        for column in COLUMNS
    }
    at_80 = metrics["precision_at_recall_80"]
    scores |= {f"{name}_precision_at_recall_80": at_80[name] for name in ("star", "galaxy")}
    known = {name: value for name, value in scores.items() if number(value) != "-"}
    return {name: round(float(value), 1) for name, value in known.items()}


def number(value: float | None, decimals: int = 1) -> str:
    """Format a score; a dash where there is none."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.{decimals}f}"


def _row(label: str, values: Sequence[float | None], width: int = 26, decimals: int = 1) -> str:
    """Lay out a label and right-aligned numbers."""
    return f"{label:<{width}}" + "".join(f"{number(value, decimals):>8}" for value in values)


def _precision_table(metrics: Mapping[str, Any]) -> str:
    """Lay out average precision: ours, the paper's, the COCO way."""
    lines = [
        "Average precision, per cent (per image, 51 recall levels; sizes at IoU 0.5)",
        " " * 26 + "".join(f"{name:>8}" for name in (*COLUMNS, "P@R80")),
    ]
    at_80 = metrics["precision_at_recall_80"]
    is_deep = metrics.get("dataset_attributes", {}).get("preset") == DEEP_PRESET
    for name, published in PAPER_SCORES.items():
        ours = [metrics["paper"][name][column] for column in COLUMNS]
        lines.append(_row(name, [*ours, at_80.get(name)]))
        if not is_deep:
            lines.append(_row("  paper", [*published, PAPER_PRECISION_AT_RECALL_80[name]]))
        elif name in PAPER_DEEP_SCORES:
            lines.append(_row("  paper, deep field", [*PAPER_DEEP_SCORES[name], None]))
    for name, row in metrics.get("coco", {}).items():
        lines.append(_row(f"{name}, COCO way", [row[column] for column in COLUMNS]))
    return "\n".join(lines)


def _confusion_table(metrics: Mapping[str, Any]) -> str:
    """Lay out both confusion matrices beside the paper's."""
    lines = [
        "Confusion, truth -> detected (share of the row, per cent)",
        f"{'':<26}{'-> star':>20}{'-> galaxy':>20}",
    ]
    for iou, published in PAPER_CONFUSION.items():
        for source, ours, theirs in zip(
            ("star", "galaxy"), metrics["confusion"][iou], published, strict=True
        ):
            for label, row in ((f"{source}, IoU {iou}", ours), ("  paper", theirs)):
                cells = "".join(f"{f'{count} ({number(_share(count, row))})':>20}" for count in row)
                lines.append(f"{label:<26}{cells}")
    return "\n".join(lines)


def _sep_table(metrics: Mapping[str, Any]) -> str:
    """Lay out ours beside SEP; SEP's masks also against isophotal truth, which is their nature."""
    sep = metrics["sep"]
    rows: list[tuple[str, list[float | None]]] = []
    for label, block in (("completeness", "completeness"), ("purity", "purity")):
        for matching in ("position", "iou"):
            rows.append(
                (
                    f"{label}, by {'IoU 0.5' if matching == 'iou' else matching}",
                    _both(metrics, sep, lambda m, b=block, k=matching: m[b][k]["all"]),
                )
            )
    for group in ("isolated", "blended"):
        for label, key in DEBLENDING_ROWS:
            rows.append(
                (
                    f"{group}: {label}",
                    _both(metrics, sep, lambda m, g=group, k=key: m["deblending"][g][k]),
                )
            )
    lines = [
        "Beside SEP on the same images, classes aside",
        f"{'':<40}{'ours':>8}{'SEP':>8}{'SEP*':>8}",
    ]
    lines += [_row(label, values, 40, 2 if "mean" in label else 1) for label, values in rows]
    lines.append("* against truth cut at the isophote of SEP's threshold, not by --rule")
    return "\n".join(lines)


def _both(metrics: Mapping[str, Any], sep: Mapping[str, Any], read: Any) -> list[float | None]:
    """Read one number of ours, of SEP, and of SEP against isophotal truth."""
    return [read(metrics), read(sep), read(sep["isophote"])]


def _other_scores(metrics: Mapping[str, Any]) -> str:
    """Lay out star/galaxy ROC and calibration."""
    calibration = metrics["calibration"]
    return "\n".join(
        [
            f"Star/galaxy ROC area {number(metrics['star_galaxy_roc']['area'], 4)}",
            f"Calibration error {number(calibration['expected_error'], 3)}; "
            f"{number(calibration['expected_error_with_temperature'], 3)} at temperature "
            f"{number(calibration['temperature'], 2)}",
        ]
    )


def _share(count: int, row: Sequence[int]) -> float:
    """Per cent of a row; NaN of an empty one."""
    total = sum(row)
    return 100.0 * count / total if total else float("nan")
