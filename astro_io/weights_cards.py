"""Model cards from the registry, and the way of a training run's weights into it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from astro_io.atomic import atomic_path
from astro_io.errors import ConfigError, InputNotFoundError, WeightsError
from astro_io.weights import REGISTRY_FILE, WeightsEntry, add_entry, file_sha256, read_registry


def write_cards(folder: str | Path) -> list[Path]:
    """Write ``NAME.md`` for each entry of a folder's registry.

    Parameters
    ----------
    folder : str or Path
        With a ``registry.toml``.

    Returns
    -------
    list of Path
        The cards.

    Raises
    ------
    InputNotFoundError
        If the folder has no registry.
    """
    folder = Path(folder)
    if not (folder / REGISTRY_FILE).is_file():
        raise InputNotFoundError(f"{folder / REGISTRY_FILE}: no such registry. Check --folder.")
    cards = []
    for name, entry in read_registry(folder / REGISTRY_FILE).items():
        with atomic_path(folder / f"{name}.md", overwrite=True) as part:
            part.write_text(model_card(entry), encoding="utf-8")
        cards.append(folder / f"{name}.md")
    return cards


def model_card(entry: WeightsEntry) -> str:
    """Return the model card of some weights as Markdown.

    Parameters
    ----------
    entry : WeightsEntry

    Returns
    -------
    str
        Facts that the entry does not give are left out.
    """
    thresholds = ", ".join(f"{key} {value:g}" for key, value in entry.thresholds.items())
    facts = {
        "File": f"`{entry.file}`",
        "SHA-256": f"`{entry.sha256}`" if entry.sha256 else "pinned on first use",
        "Address": f"<{entry.url}>" if entry.url else "in this folder",
        "Bands": ", ".join(entry.bands),
        "Pixel scale": _scale(entry.pixel_scale_arcsec),
        "Normalisation": entry.normalization,
        "Classes": ", ".join(entry.classes),
        "Thresholds": thresholds,
        "Parameters": f"{entry.n_parameters:,}" if entry.n_parameters else "",
        "Training set": entry.training_set,
        "Seed": "" if entry.seed is None else str(entry.seed),
        "Licence": entry.licence,
    }
    lines = [f"# {entry.name}", "", *([entry.description, ""] if entry.description else [])]
    lines += ["| | |", "|---|---|"]
    lines += [f"| {key} | {value} |" for key, value in facts.items() if value]
    if entry.scores:
        lines += ["", "## Scores", "", *_score_lines(entry.scores)]
    if entry.command:
        lines += ["", "## Made by", "", "```", entry.command, "```"]
    return "\n".join([*lines, "", "*Generated from `registry.toml`; do not edit.*", ""])


def add_trained(record: str | Path, folder: str | Path) -> str:
    """Copy the weights of a training run into a folder and its registry.

    Parameters
    ----------
    record : str or Path
        ``NAME.entry.toml`` beside the weights file.
    folder : str or Path
        With the registry.

    Returns
    -------
    str
        Name of the weights.

    Raises
    ------
    InputNotFoundError
        If the record or its weights file does not exist.
    WeightsError
        If the record holds not just one entry, or the file is not the one that it describes.
    """
    record, folder = Path(record), Path(folder)
    if not record.is_file():
        raise InputNotFoundError(f"{record}: no such record.")
    entries = list(read_registry(record).values())
    if len(entries) != 1:
        raise WeightsError(f"{record}: expected one entry, found {len(entries)}.")
    entry, source = entries[0], record.parent / entries[0].file
    if not source.is_file():
        raise InputNotFoundError(f"{source}: no such weights file, though {record.name} names it.")
    found = file_sha256(source)
    if found != entry.sha256:
        raise WeightsError(
            f"{source.name}: SHA-256 {found[:8]}… does not match {record.name} "
            f"{entry.sha256[:8]}…. Finish the training run, then add it."
        )
    ending = ".weights.h5"
    further = source.parent.glob(f"{source.name.removesuffix(ending)}.*of*{ending}")
    for file in (*sorted(further), source):
        with atomic_path(folder / file.name, overwrite=True) as part:
            shutil.copyfile(file, part)
    add_entry(entry, folder / REGISTRY_FILE)
    return entry.name


def add_scores(name: str, item: str, folder: str | Path) -> str:
    """Put the scores of an evaluation into the record of the weights that it scored.

    Parameters
    ----------
    name : str
        Of the weights.
    item : str
        ``"TITLE=PATH"``: heading of the row, and a ``metrics.json`` with ``scores``.
    folder : str or Path
        With the registry.

    Returns
    -------
    str
        What was done, in one line.

    Raises
    ------
    ConfigError
        If `item` has no title or no path.
    InputNotFoundError
        If the file does not exist.
    WeightsError
        If the name is unknown, the file has no scores, or they are of other weights.
    """
    title, _, place = item.rpartition("=")
    if not title or not place:
        raise ConfigError(f"--scores {item}: expected TITLE=path of a metrics.json.")
    path, registry_path = Path(place), Path(folder) / REGISTRY_FILE
    entries = read_registry(registry_path)
    if name not in entries:
        raise WeightsError(f"{registry_path}: no weights '{name}'. Add them first (--add).")
    if not path.is_file():
        raise InputNotFoundError(f"{path}: no such file. Run the evaluate command first.")
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
        scores, sha256 = dict(metrics["scores"]), metrics["weights_sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{path}: expected 'scores' and 'weights_sha256', as evaluate writes them ({error}). "
            "Evaluate again."
        ) from error
    entry = entries[name]
    if sha256 != entry.sha256:
        raise WeightsError(
            f"{path}: scores of weights {sha256[:8]}…, but {name} is {entry.sha256[:8]}…. "
            "Evaluate these weights."
        )
    add_entry(replace(entry, scores={**entry.scores, title: scores}), registry_path)
    return f"{name}: {len(scores)} scores under '{title}'"


def _scale(arcsec: float | tuple[float, float] | None) -> str:
    """Write a pixel scale, or the range of one."""
    if arcsec is None:
        return ""
    ends = arcsec if isinstance(arcsec, tuple | list) else (arcsec,)
    return f'{" to ".join(f"{end:g}" for end in ends)}"/px'


def _score_lines(scores: Mapping[str, Any]) -> list[str]:
    """Return scores as a table: nested ones as rows of columns, single ones as a list."""
    single = {key: value for key, value in scores.items() if not isinstance(value, Mapping)}
    nested = {key: value for key, value in scores.items() if isinstance(value, Mapping)}
    lines = [f"- {key}: {_number(value)}" for key, value in single.items()]
    if nested:
        columns = list(dict.fromkeys(name for row in nested.values() for name in row))
        lines += [""] if lines else []
        lines += ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
        for key, row in nested.items():
            cells = [_number(row[name]) if name in row else "-" for name in columns]
            lines.append(f"| {key} | " + " | ".join(cells) + " |")
    return lines


def _number(value: Any) -> str:
    """Return a score with at most four figures."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_number(item)}" for key, item in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
