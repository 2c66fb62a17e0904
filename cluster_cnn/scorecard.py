"""The numbers of an evaluation as text: the table of the README, and one line for stdout."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from cluster_cnn.evaluation import COMPACT_ARCSEC, improvement
from cluster_cnn.metrics import largest_bias

BASELINES = {
    "integrated": "photometry",
    "apertures": "photometry, 3 apertures",
    "wide_apertures": "photometry, 6 apertures to 7.5 arcsec",
}
"""Heading of each baseline."""

ALWAYS = ("integrated", "apertures")

OLDEST = 9.5
"""log10 of 3 Gyr: ages up to which a small bias is asked."""


def scorecard(metrics: Mapping[str, Any]) -> str:
    """Return Markdown tables: parameters beside the baseline, then age and mass in cells."""
    blocks = [_overall(metrics)]
    for key, title in _estimators(metrics):
        blocks.append(f"{title}: bias and scatter of log age; of log mass (dex)")
        blocks.append(age_mass_table(metrics[key]))
        small = {n: item["compact"] for n, item in metrics[key].items() if "compact" in item}
        if small:
            blocks.append(f'the same for half-light radii up to {COMPACT_ARCSEC:g}"')
            blocks.append(age_mass_table(small))
    if metrics.get("classes"):
        accuracy = metrics["classes"]["accuracy"]
        blocks.append(
            f"called rightly: clusters {accuracy['cluster']:.1f} %, others "
            f"{accuracy['background']:.1f} %"
        )
    if metrics.get("ablation"):
        blocks.append(_ablation(metrics["ablation"]))
    return "\n\n".join(blocks)


def headline(metrics: Mapping[str, Any]) -> str:
    """Return one line: scatter of each parameter."""
    key = _variants(metrics)[-1][0]
    parts = [f"{name} {item['scatter']:.3f}" for name, item in metrics[key].items()]
    return f"{metrics['n_clusters']} clusters, scatter: {', '.join(parts)}"


def card_scores(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the scores that a model card shows, by name.

    Parameters
    ----------
    metrics : mapping
        Content of ``metrics.json``.

    Returns
    -------
    dict of str to float
        Scatter in dex (A_V: mag), that of integrated photometry beside it, and the share of the
        68 % intervals that hold the truth in per cent, with the extinction known where the set
        allows it. What cannot be told is left out.
    """
    key = _variants(metrics)[-1][0]
    is_known = key.endswith("known")
    theirs = metrics.get("baseline", {}).get("integrated" + ("_av_known" if is_known else ""), {})
    scores = {}
    for name, item in metrics[key].items():
        if is_known and name == "av":
            continue
        short = name.removeprefix("log_")
        scores[f"{short}_scatter"] = round(item["scatter"], 3)
        if name in theirs:
            scores[f"{short}_scatter_photometry"] = round(theirs[name]["scatter"], 3)
        if "coverage68" in item:
            scores[f"{short}_coverage68"] = round(100 * item["coverage68"], 1)
    return {name: value for name, value in scores.items() if math.isfinite(value)}


def age_mass_table(scores: Mapping[str, Any]) -> str:
    """Return a table with ages as rows and masses as columns: ``bias / scatter`` of both."""
    cells_age = scores.get("log_age", {}).get("by_age_mass") or []
    cells_mass = scores.get("log_mass", {}).get("by_age_mass") or cells_age
    masses = list(dict.fromkeys(tuple(cell["log_mass"]) for cell in cells_age))
    ages = list(dict.fromkeys(tuple(cell["log_age"]) for cell in cells_age))
    head = ["log age \\ log M", *(f"{low:.1f}-{high:.1f}" for low, high in masses)]
    rows = [head, ["---"] * len(head)]
    for number, (low, high) in enumerate(ages):
        row = [f"{low:.1f}-{high:.1f}"]
        for column in range(len(masses)):
            i = number * len(masses) + column
            pair = (cells_age[i], cells_mass[i])
            row.append("; ".join(f"{_signed(c['bias'])} / {_plain(c['scatter'])}" for c in pair))
        rows.append(row)
    return _markdown(rows)


def _variants(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    known = (
        [("parameters_av_known", "extinction known")] if "parameters_av_known" in metrics else []
    )
    return [("parameters", "extinction unknown"), *known]


def _estimators(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return key and title of the scores of medians and of most probable points."""
    found = []
    for key, title in _variants(metrics):
        best = key.replace("parameters", "best")
        found.append((key, title))
        if best in metrics:
            found.append((best, f"most probable point, {title}"))
    return found


def _overall(metrics: Mapping[str, Any]) -> str:
    rows = [
        ["", "bias", "scatter", "rmse", "68 % interval holds", "S/N > 20: scatter"]
        + [cell for label in _baselines(metrics) for cell in (BASELINES[label], "below it")]
        + ["largest bias of a cell to 3 Gyr", f'up to {COMPACT_ARCSEC:g}": scatter', "bias"],
    ]
    rows.append(["---"] * len(rows[0]))
    for key, title in _estimators(metrics):
        for name, item in metrics[key].items():
            if key.endswith("known") and name == "av":
                continue
            rows.append([f"{name}, {title}", *_own(item), *_beside(metrics, key, name, item)])
            rows[-1] += [_plain(largest_bias(item.get("by_age_mass") or [], oldest=OLDEST), 3)]
            small = item.get("compact", {})
            cells = small.get("by_age_mass") or []
            rows[-1] += [_plain(small.get("scatter"), 3)]
            rows[-1] += [_plain(largest_bias(cells, oldest=OLDEST), 3)]
    return _markdown(rows)


def _own(item: Mapping[str, Any]) -> list[str]:
    """Return the cells with the network's own numbers."""
    return [
        _signed(item["bias"], 3),
        _plain(item["scatter"], 3),
        _plain(item["rmse"], 3),
        f"{100 * item['coverage68']:.1f} %" if "coverage68" in item else "-",
        _plain(item["bright"]["scatter"], 3),
    ]


def _beside(metrics: Mapping[str, Any], key: str, name: str, item: Mapping[str, Any]) -> list[str]:
    """Return the scatter of each baseline, and by how much ours is below it."""
    cells = []
    for label in _baselines(metrics):
        full = label + ("_av_known" if key.endswith("known") else "")
        theirs = metrics.get("baseline", {}).get(full, {})
        other = theirs.get(name, {}).get("scatter")
        below = improvement({name: item}, theirs).get(name)
        cells += [_plain(other, 3), "-" if below is None else f"{below:.0f} %"]
    return cells


def _baselines(metrics: Mapping[str, Any]) -> list[str]:
    """Return the baselines of a table: the first two always, the others where there are any."""
    return [name for name in BASELINES if name in metrics.get("baseline", {}) or name in ALWAYS]


def _ablation(ablation: Mapping[str, Any]) -> str:
    names = list(next(iter(ablation.values())))
    rows = [["scatter without", *names], ["---"] * (len(names) + 1)]
    rows += [[b, *(_plain(item[n]["scatter"], 3) for n in names)] for b, item in ablation.items()]
    return _markdown(rows)


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _plain(value: float | None, digits: int = 2) -> str:
    return "-" if value is None or value != value else f"{value:.{digits}f}"


def _signed(value: float | None, digits: int = 2) -> str:
    return "-" if value is None or value != value else f"{value:+.{digits}f}"
