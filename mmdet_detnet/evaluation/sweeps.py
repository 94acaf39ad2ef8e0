"""Average precision of a trained RetinaNet-Conf for several exponents of its joint score."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.runner import Runner
from tqdm import tqdm

from mmdet_detnet.models.retinanet_conf import SELECTION_SCORES, ConfidenceBranch

from .loading import load_detector, read_ground_truth, to_coco
from .metrics import FIGURES, Detection, coco_figures

EXPONENTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


@torch.no_grad()
def sweep_conf_exponent(
    config: str | Path,
    checkpoint: str | Path,
    exponents: Sequence[float] = EXPONENTS,
    **options: Any,
) -> list[dict[str, Any]]:
    """Evaluate a detector on its validation set for each exponent and both values of select_by.

    The network runs once; its outputs are converted to detections for each scoring. At the same
    threshold, the joint score lets more boxes pass with a higher exponent, so only ``'cls'``
    compares exponents on the same candidates.

    Args:
        config: Config file of a detector with a ConfidenceRetinaHead or ConfidenceATSSHead.
        checkpoint: Checkpoint file of the detector.
        exponents: Values of ``conf_exponent``, each in [0, 1).
        **options: As for :func:`.load_detector`.

    Returns:
        For each, ``select_by``, ``exponent`` and COCO's AP; an undefined one is None.

    Raises:
        ValueError: If the detector has another head, an exponent is out of range, or as in
            :func:`.load_detector`.
    """
    model = load_detector(config, checkpoint, **options)
    head = getattr(model, 'bbox_head', None)
    if not isinstance(head, ConfidenceBranch):
        raise ValueError(
            f'{config} must have a confidence branch in model.bbox_head, got {type(head).__name__}.'
        )
    for exponent in exponents:
        head.conf_exponent = exponent  # rejects invalid values before anything runs
    loader = Runner.build_dataloader(model.cfg.val_dataloader)
    detections: dict[tuple[str, float], list[Detection]] = {
        (select_by, exponent): [] for select_by in SELECTION_SCORES for exponent in exponents
    }
    for batch in tqdm(loader):
        data = model.data_preprocessor(batch, False)
        outputs = model(**data, mode='tensor')
        samples = data['data_samples']
        metas = [sample.metainfo for sample in samples]
        for scoring, found in detections.items():
            head.select_by, head.conf_exponent = scoring
            boxes = head.predict_by_feat(*outputs, batch_img_metas=metas, rescale=True)
            for sample in model.add_pred_to_datasample(samples, boxes):
                found += to_coco(sample.cpu().to_dict(), loader.dataset)
    truth = read_ground_truth(loader.dataset)
    rows = []
    for (select_by, exponent), found in detections.items():
        figures, _ = coco_figures(truth, found)
        precisions = {name: figures[name] for name in FIGURES[:6]}
        rows.append({'select_by': select_by, 'exponent': exponent, **precisions})
    return rows
