"""Time torchvision's maskrcnn_resnet50_fpn on a stored batch, for the two benchmarks of speed.

Needs torch, torchvision and NumPy alone, so that it can run in another environment.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

MEASURED = "measured: "


def main(path: str, steps: int, *, has_training: bool = True) -> dict[str, object]:
    try:
        import torch
        import torchvision
    except ImportError as error:
        return {"reason": f"it cannot be imported here ({error})"}
    with np.load(path) as file:
        batch = dict(file)
    size = batch["image"].shape[1]
    torch.manual_seed(0)
    model = torchvision.models.detection.maskrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=3,
        min_size=size,
        max_size=size,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
        trainable_backbone_layers=5,
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    images, targets = [], []
    for row in range(len(batch["image"]) if has_training else 0):
        images.append(torch.tensor(batch["image"][row].transpose(2, 0, 1)))
        targets.append(_target(torch, batch, row, size))

    def step() -> None:
        model.train()
        optimizer.zero_grad()
        sum(model(images, targets).values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()

    n_tiles = -(-512 // size)
    tiled = np.tile(batch["image"][0], (n_tiles, n_tiles, 1))[:512, :512]
    tile = torch.tensor(np.ascontiguousarray(tiled.transpose(2, 0, 1)))

    def infer() -> int:
        model.eval()
        model.transform.min_size, model.transform.max_size = (512,), 512
        with torch.no_grad():
            return len(model([tile])[0]["masks"])

    return {
        "version": torchvision.__version__,
        "n_threads": torch.get_num_threads(),
        "n_masks": infer(),
        **({"step": _timed(step, steps)} if has_training else {}),
        "inference": _timed(infer, steps),
    }


def _target(torch, batch: dict[str, np.ndarray], row: int, size: int) -> dict[str, object]:
    """Paint the masks on full frames, as torchvision wants them."""
    n = int((batch["gt_class_ids"][row] > 0).sum())
    boxes = batch["gt_boxes"][row, :n]
    masks = np.zeros((n, size, size), np.uint8)
    for i, (y1, x1, y2, x2) in enumerate(boxes.astype(int)):
        side = batch["gt_masks"].shape[-1]
        rows = (np.arange(y2 - y1) + 0.5) * side // (y2 - y1)
        columns = (np.arange(x2 - x1) + 0.5) * side // (x2 - x1)
        masks[i, y1:y2, x1:x2] = batch["gt_masks"][row, i][
            np.ix_(rows.astype(int), columns.astype(int))
        ]
    return {
        "boxes": torch.tensor(boxes[:, [1, 0, 3, 2]]),
        "labels": torch.tensor(batch["gt_class_ids"][row, :n].astype(np.int64)),
        "masks": torch.tensor(masks),
    }


def _timed(function: Callable[[], object], n: int) -> tuple[float, float]:
    """Return median wall-clock and CPU seconds of a call, the first left out."""
    function()
    walls, cpus = [], []
    for _ in range(n):
        wall, cpu = time.perf_counter(), time.process_time()
        function()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return statistics.median(walls), statistics.median(cpus)


if __name__ == "__main__":
    training = "inference" not in sys.argv[3:]
    print(MEASURED + json.dumps(main(sys.argv[1], int(sys.argv[2]), has_training=training)))
