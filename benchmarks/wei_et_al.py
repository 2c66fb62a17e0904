"""Wei et al. 2020 (MNRAS 493, 3178) from LEGUS mosaics to the paper's table, in one command.

::

    python benchmarks/wei_et_al.py ngc1/ ngc2/ --catalog ngc1.tab.gz ngc2.tab.gz \
        --distance-kpc 9900 18000 --imagenet imagenet/ --output out/wei

Cuts the stamps of all classified objects, trains ResNet18 and VGG19-BN ten times each, scores them
on the fifth that is set aside with each band blanked in turn, and prints their table beside the
paper's. It runs ``cluster_cnn.stamps``, ``train`` and ``evaluate`` with the configurations
``classes_wei_*.toml``. What is finished is kept: the same line goes on where it was interrupted.

``legus.h5`` holds the stamps, ``runs/NETWORK`` the weights, ``scores/NETWORK`` numbers and figures
(confusion matrices, entropy, ablation). A step of VGG19-BN at 299 px takes 25 GB of memory, its
ten trainings together as much.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from steps import StepFailed, check

from cluster_cnn import evaluate, stamps, train

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
PAPER = {
    "resnet18": "76.0 ± 4.2 | 58.2 ± 5.3 | 59.9 ± 6.8 | 70.9 ± 4.8",
    "vgg19_bn": "70.9 ± 6.2 | 63.8 ± 4.8 | 59.8 ± 7.5 | 69.1 ± 6.8",
}
"""Classes 1 to 4 of held-out LEGUS objects, per cent: their figure 4."""


def cut_stamps(args: argparse.Namespace, dataset: Path) -> None:
    """Make the training set of all fields, unless it is there."""
    if dataset.exists():
        return
    line = [*args.mosaics, "--catalog", *args.catalog, "--output", str(dataset)]
    if args.distance_kpc:
        line += ["--distance-kpc", *args.distance_kpc]
    if args.pixel_scale:
        line += ["--pixel-scale", args.pixel_scale]
    check(stamps.main(line))


def train_network(args: argparse.Namespace, name: str, dataset: Path) -> Path:
    """Train ten networks of a kind, or go on; return their run folder."""
    output = args.output / "runs" / name
    if any(output.glob("*.weights.h5")):
        return output
    line = [str(CONFIGS / f"classes_wei_{name}.toml"), "--output", str(output)]
    settings = [f"data.training={dataset}", *args.set]
    if args.imagenet:
        settings.append(f"torch_weights={find_published(args.imagenet, name)}")
    line += [word for setting in settings for word in ("--set", setting)]
    check(train.main([*line, *(["--resume"] if output.exists() else [])]))
    return output


def find_published(folder: Path, name: str) -> Path:
    """Return the one file of published weights of a network, such as ``resnet18-f37072fd.pth``."""
    found = [path for kind in ("pth", "safetensors") for path in folder.glob(f"{name}*.{kind}")]
    if len(found) != 1:
        raise SystemExit(
            f"{folder}: expected one file {name}-*.pth or {name}*.safetensors; found {len(found)}. "
            "Get it from download.pytorch.org/models, or leave --imagenet out to start at random."
        )
    return found[0]


def score_network(args: argparse.Namespace, name: str, run: Path, dataset: Path) -> dict:
    """Score a kind of network on the stamps set aside; return its metrics."""
    output = args.output / "scores" / name
    if not (output / "metrics.json").exists():
        line = ["--weights", str(run), "--dataset", str(dataset), "--output", str(output)]
        check(evaluate.main([*line, "--held-out", "--ablation"]))
    return json.loads((output / "metrics.json").read_text())


def table_of(scores: dict[str, dict]) -> str:
    """Return mean and deviation of the trainings beside the paper's, in Markdown."""
    lines = ["| | class 1 | class 2 | class 3 | class 4 |", "|---|---|---|---|---|"]
    for name, metrics in scores.items():
        members = metrics["members"]
        ours = (
            f"{mean:.1f} ± {deviation:.1f}" for mean, deviation in members["per_class"].values()
        )
        lines.append(f"| {name}, {members['n_runs']} trainings | {' | '.join(ours)} |")
        lines.append(f"| {name}, the paper | {PAPER[name]} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing; print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("mosaics", nargs="+", metavar="MOSAIC", help="one a field, as for cluster_cnn.stamps")
    add("--catalog", nargs="+", required=True, metavar="TABLE", help="LEGUS table of each field")
    add("--distance-kpc", nargs="+", default=[], metavar="KPC", help="of each field")
    add("--pixel-scale", metavar="ARCSEC", help="resample all stamps to this pixel size")
    add("--imagenet", type=Path, metavar="DIR", help="folder of published ImageNet weights")
    add("--networks", nargs="+", choices=list(PAPER), default=list(PAPER))
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="change the configurations")
    add("--output", type=Path, required=True, metavar="DIR")
    args = parser.parse_args(argv)
    if args.imagenet:
        for name in args.networks:
            find_published(args.imagenet, name)  # before hours of work
    dataset = args.output / "legus.h5"
    try:
        cut_stamps(args, dataset)
        scores = {}
        for name in args.networks:
            run = train_network(args, name, dataset)
            scores[name] = score_network(args, name, run, dataset)
    except StepFailed as failure:
        return failure.code
    print(table_of(scores))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
