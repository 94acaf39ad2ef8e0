"""Evaluate a detector on test images that are cut into tiles."""

from mmdet.registry import DATASETS
from mmdet.structures import DetDataSample

from .evaluators import build_evaluators, evaluate_each
from .predict import Predictor
from .sources import find_sources, read_frames
from .tiles import Tiles


def evaluate_in_tiles(
    predictor: Predictor, tiles: Tiles | None, batch: int = 1
) -> dict[str, float]:
    """Evaluate a detector on the test images of its config.

    Args:
        predictor: The detector.
        tiles: How to cut the images; None for whole images.
        batch: Number of tiles, or images, at a time.

    Returns:
        The metrics of the config's ``test_evaluator``, such as ``coco/bbox_mAP_s``, without those
        that are undefined, such as of small objects if there are none.

    Raises:
        ValueError: If an image cannot be read or processed.
    """
    cfg = predictor.inferencer.cfg
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    frames = (frame for info in infos for frame in read_frames(find_sources([info['img_path']])))
    evaluators = build_evaluators(['test'], cfg.test_evaluator, dataset.metainfo)
    results = predictor.predict(frames, 0.0, batch, tiles)
    for info, result in zip(infos, results, strict=True):
        if result.problem:
            raise ValueError(f'{info["img_path"]} {result.problem}.')
        size = (info['height'], info['width'])
        sample = DetDataSample(metainfo=dict(img_id=info['img_id'], ori_shape=size))
        sample.pred_instances = result.pred_instances
        evaluators['test'].process([sample])
    return evaluate_each(evaluators, len(dataset))['test']
