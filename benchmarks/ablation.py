"""Which choice of the network is worth what: short trainings of equal budget, one change each.

::

    python -m simulate.fields --preset decam-paper --n 200 --seed 1 --output sets/train.h5
    python -m simulate.fields --preset decam-paper --n 20 --seed 11 --output sets/validation.h5
    python benchmarks/ablation.py --training sets/train.h5 --test sets/validation.h5 \
        --output runs/ablation --steps 2000

Every variant is trained from scratch on the same crops in the same order with the same schedule,
and scored on the same images: the differences are those of the variant, and of chance, which
``--seeds 1 2 3`` shows. A variant that is done is not trained again. Prints the table as Markdown
after every variant; ``--only`` chooses some of them.

The test images should be those of a validation set: the test set chooses nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detect_speed import ROOT, describe_machine, run_measured

BASE = ROOT / "configs" / "astro_rcnn_compact.toml"

VARIANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "base": ("as configs/astro_rcnn_compact.toml: asinh, stride 2, masks 28 x 28", ()),
    "zscore": ("normalisation: robust z-score", ("model.normalization=zscore",)),
    "paper-counts": ("normalisation: the paper's counts", ("model.normalization=paper",)),
    "lupton": ("normalisation: Lupton", ("model.normalization=lupton",)),
    "anchors-small": ("anchors 6 to 96 px", ("model.anchor_scales=[6.0,12.0,24.0,48.0,96.0]",)),
    "anchors-paper": ("anchors 8 to 128 px", ("model.anchor_scales=[8.0,16.0,32.0,64.0,128.0]",)),
    "anchors-dense": (
        "anchors from stride 2",
        ("model.rpn_levels=[1,2,3,4,5]", "model.anchor_scales=[8.0,16.0,32.0,64.0,128.0]"),
    ),
    "no-stride-2": (
        "regions pooled from stride 4 on",
        ("model.roi_levels=[2,3,4,5]", "model.canonical_level=2"),
    ),
    "narrow": ("trunk of half the width", ("model.trunk_widths=[16,32,48,64,96]",)),
    "deep": ("trunk of twice the blocks", ("model.trunk_blocks=[2,4,4,4,2]",)),
    "resnet50": (
        "trunk ResNet-50",
        ("model.trunk=resnet50", "model.roi_levels=[1,2,3,4,5]"),
    ),
    "masks-14": ("masks 14 x 14", ("model.mask_pool_size=7",)),
    "masks-40": ("masks 40 x 40", ("model.mask_pool_size=20",)),
    "no-average": ("the last weights, no moving average", ("optimizer.ema_momentum=0.0",)),
}
"""Name: what it says in the table, and the settings it changes."""

COLUMNS = ("AP", "AP50", "AP75", "AP_M", "AP_L")


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    print(describe_machine(), flush=True)
    names = args.only or list(VARIANTS)
    args.output.mkdir(parents=True, exist_ok=True)
    for name in names:
        for seed in args.seeds:
            run_variant(args, name, seed)
        print(table(args, names), flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--training", nargs="+", type=Path, required=True, help="training sets")
    add("--test", type=Path, required=True, help="set to score on; not the test set")
    add("--output", type=Path, required=True, help="folder, one run a variant")
    add("--steps", type=int, default=2000, help="of every variant (default %(default)s)")
    add("--crop", type=int, default=128, metavar="PX")
    add("--batch", type=int, default=8)
    add("--limit", type=int, default=20, help="images scored (default %(default)s)")
    add("--seeds", nargs="+", type=int, default=[1])
    add("--only", nargs="+", choices=list(VARIANTS), metavar="VARIANT", help=", ".join(VARIANTS))
    return parser


def run_variant(args: argparse.Namespace, name: str, seed: int) -> None:
    """Train and score one variant, unless that has been done with this budget."""
    folder = args.output / f"{name}-{seed}"
    budget = {"steps": args.steps, "crop": args.crop, "batch": args.batch, "limit": args.limit}
    record = folder / "budget.json"
    if record.exists() and json.loads(record.read_text())["budget"] == budget:
        return
    start = time.perf_counter()
    settings = training_settings(args, seed, VARIANTS[name][1])
    command = [sys.executable, "-m", "astro_rcnn.train", str(BASE), "--output", str(folder)]
    flags = [part for setting in settings for part in ("--set", setting)]
    _, cpu_s, _ = run_measured([*command, *flags, "--overwrite", "--quiet"], {})
    wall_s = time.perf_counter() - start
    command = [sys.executable, "-m", "astro_rcnn.evaluate", "--weights"]
    command += [str(folder / "ablation.weights.h5"), "--dataset", str(args.test), "--no-sep"]
    command += ["--limit", str(args.limit), "--output", str(folder / "scores"), "--overwrite"]
    run_measured([*command, "--examples", "0", "--quiet"], {})
    record.write_text(json.dumps({"budget": budget, "wall_s": wall_s, "cpu_s": cpu_s}))


def training_settings(args: argparse.Namespace, seed: int, changes: Sequence[str]) -> list[str]:
    """Return what ``--set`` is given: the budget, then what the variant changes."""
    steps_per_epoch = max(min(args.steps // 4, 250), 1)
    n_epochs = max(args.steps // steps_per_epoch, 1)
    paths = json.dumps([str(path.resolve()) for path in args.training])
    return [
        "name=ablation",
        f"seed={seed}",
        f"data.training={paths}",
        "data.validation=[]",
        f"data.crop={args.crop}",
        f"data.batch_size={args.batch}",
        "n_looks=0",
        f"steps_per_epoch={steps_per_epoch}",
        f"optimizer.warmup_steps={max(args.steps // 20, 1)}",
        "optimizer.ema_momentum=0.99",
        f"schedule=[{{until_epoch={n_epochs}, learning_rate=1e-3, final_learning_rate=1e-5}}]",
        *changes,
    ]


def table(args: argparse.Namespace, names: Sequence[str]) -> str:
    """Return the Markdown table of what is done: means over seeds, and their spread."""
    head = [f"{kind} {column}" for kind in ("star", "galaxy") for column in COLUMNS]
    head = [title for title in head if title not in ("star AP_M", "star AP_L")]
    lines = [
        f"{args.steps} steps of {args.batch} crops of {args.crop} px, {args.limit} images\n",
        f"| variant | {' | '.join(head)} | blends found | CPU s |",
        "|---" * (len(head) + 3) + "|",
    ]
    for name in names:
        scores = [read_scores(args.output / f"{name}-{seed}") for seed in args.seeds]
        done = [score for score in scores if score is not None]
        if done:
            cells = [_cell([score[title] for score in done]) for title in (*head, "blends")]
            cpu = statistics.mean(score["cpu_s"] for score in done)
            lines.append(f"| {VARIANTS[name][0]} | {' | '.join(cells)} | {cpu:.0f} |")
    return "\n".join(lines)


def read_scores(folder: Path) -> dict[str, float | None] | None:
    """Read the scores of one run, None where it is not finished."""
    record = folder / "budget.json"
    if not record.exists():
        return None
    metrics: dict[str, Any] = json.loads((folder / "scores" / "metrics.json").read_text())
    scores = {
        f"{kind} {column}": metrics["paper"][kind][column]
        for kind in ("star", "galaxy")
        for column in COLUMNS
    }
    scores["blends"] = metrics["deblending"]["blended"]["found"]
    return {**scores, "cpu_s": json.loads(record.read_text())["cpu_s"]}


def _cell(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    spread = f" ± {statistics.stdev(known):.1f}" if len(known) > 1 else ""
    return f"{statistics.mean(known):.1f}{spread}"


if __name__ == "__main__":
    sys.exit(main())
