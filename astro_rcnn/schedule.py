"""The learning rate as a function of the step: stages, warm-up and cosine."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from astro_rcnn.config import StageConfig


@keras.saving.register_keras_serializable(package="astro_rcnn")
class StagedSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate of consecutive stages.

    Parameters
    ----------
    last_steps : sequence of int
        Step (counted from the start of training) at which each stage ends, exclusive.
    starts, ends : sequence of float
        Learning rate at the first and last step of each stage; a cosine leads from one to the
        other (Loshchilov & Hutter 2017, eq. 5).
    warmup_steps : int
        The rate rises linearly from 0 over so many first steps of training.
    first_step : int
        Steps done before the optimiser began to count.
    """

    def __init__(
        self,
        last_steps: Sequence[int],
        starts: Sequence[float],
        ends: Sequence[float],
        *,
        warmup_steps: int = 0,
        first_step: int = 0,
    ) -> None:
        super().__init__()
        self.last_steps = tuple(int(step) for step in last_steps)
        self.starts = tuple(float(rate) for rate in starts)
        self.ends = tuple(float(rate) for rate in ends)
        self.warmup_steps = int(warmup_steps)
        self.first_step = int(first_step)

    @classmethod
    def from_stages(
        cls,
        stages: Sequence[StageConfig],
        steps_per_epoch: int,
        *,
        warmup_steps: int = 0,
        first_step: int = 0,
    ) -> StagedSchedule:
        """Build the schedule of a list of stages."""
        return cls(
            [stage.until_epoch * steps_per_epoch for stage in stages],
            [stage.learning_rate for stage in stages],
            [
                stage.learning_rate if stage.final_learning_rate < 0 else stage.final_learning_rate
                for stage in stages
            ],
            warmup_steps=warmup_steps,
            first_step=first_step,
        )

    def __call__(self, step):
        """Return the learning rate of `step`, counted by the optimiser."""
        step = ops.cast(step, "float32") + self.first_step
        last = np.array(self.last_steps, np.float32)
        first = np.concatenate([[0.0], last[:-1]]).astype(np.float32)
        stage = ops.minimum(ops.sum(ops.cast(step >= last, "int32")), len(last) - 1)
        begin, end = ops.take(first, stage), ops.take(last, stage)
        start = ops.take(np.array(self.starts, np.float32), stage)
        final = ops.take(np.array(self.ends, np.float32), stage)
        progress = ops.clip((step - begin) / ops.maximum(end - begin - 1.0, 1.0), 0.0, 1.0)
        rate = final + (start - final) * 0.5 * (1.0 + ops.cos(np.pi * progress))
        if self.warmup_steps > 0:
            rate = rate * ops.minimum((step + 1.0) / self.warmup_steps, 1.0)
        return rate

    def get_config(self) -> dict:
        """Return the constructor's arguments."""
        return {
            "last_steps": self.last_steps,
            "starts": self.starts,
            "ends": self.ends,
            "warmup_steps": self.warmup_steps,
            "first_step": self.first_step,
        }
