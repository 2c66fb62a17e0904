"""`cluster_cnn.evaluate` for the task ``parameters``."""

from __future__ import annotations

import argparse

from astro_io.errors import ConfigError
from cluster_cnn import evaluation_run, scorecard
from cluster_cnn.predictor import Predictor


def evaluate_weights(args: argparse.Namespace) -> tuple[str, str]:
    """Score weights as the arguments of `cluster_cnn.evaluate` say.

    Returns
    -------
    tables, line : str
        For stdout.
    """
    if args.held_out or len(args.dataset) > 1:
        raise ConfigError(
            "--held-out and several sets of --dataset: only for weights that give classes. Name "
            "one set that the weights have not seen."
        )
    evaluation_run.refuse_existing(args.output, overwrite=args.overwrite)
    metrics = evaluation_run.evaluate(
        Predictor.load(args.weights),
        args.dataset[0],
        args.output,
        evaluation_run.EvaluationSettings(
            limit=args.limit,
            has_baseline=not args.no_baseline,
            has_ablation=args.ablation,
            within=dict(args.within),
            baseline_training=tuple(args.baseline_training),
        ),
    )
    line = f"{scorecard.headline(metrics)} -> {args.output}"
    return scorecard.scorecard(metrics), line
