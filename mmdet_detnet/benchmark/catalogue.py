"""Comparisons known by name, and those given as configs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .workload import PLAIN, Entry, Settings

FASTER_RCNN_R50 = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
DOUBLE_HEAD = 'double_head/double-head_r50_fpn_1x_coco.py'
EXT = 'double_head/double-head-ext_r50_fpn_1x_coco.py'
GROUP_NORM = 'double_head/double-head_r50_fpn_gn-head_1x_coco.py'
ON_ALL_ROIS = 'model.roi_head.regress_positives_only=False'
MMDET_DOUBLE_HEAD = 'mmdet::double_heads/dh-faster-rcnn_r50_fpn_1x_coco.py'


@dataclass(frozen=True)
class Comparison:
    """Configs to measure in turn.

    Attributes:
        configs: Their names; the last is the reference, MMDetection's counterpart.
        kind: The part that is measured, see :class:`Entry`.
        survivors: Number of surviving proposals, if the comparison sets it.
    """

    configs: tuple[str, ...]
    kind: str = 'detector'
    survivors: int | None = None


COMPARISONS = {
    'backbone': Comparison(
        (
            'detnet/faster-rcnn_detnet59_fpn_1x_coco.py',
            'ipgnet/faster-rcnn_ipgnet50_fpn_8xb4-1x_coco.py',
            'mmdet::faster_rcnn/faster-rcnn_r101_fpn_1x_coco.py',
            FASTER_RCNN_R50,
        ),
        kind='backbone',
    ),
    'detnet': Comparison(
        (
            'detnet/faster-rcnn_detnet59_fpn_1x_coco.py',
            FASTER_RCNN_R50,
            'mmdet::faster_rcnn/faster-rcnn_r101_fpn_1x_coco.py',
        )
    ),
    'detnet-mask': Comparison(
        (
            'detnet/mask-rcnn_detnet59_fpn_1x_coco.py',
            'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
            'mmdet::mask_rcnn/mask-rcnn_r101_fpn_1x_coco.py',
        )
    ),
    'double-head': Comparison(
        (
            DOUBLE_HEAD,
            EXT,
            MMDET_DOUBLE_HEAD,
            FASTER_RCNN_R50,
        )
    ),
    # What Ext's conv-head may leave out at test time, at the price of other detections.
    'double-head-ext': Comparison(
        (
            EXT,
            f'{EXT} model.roi_head.gate_score_thr=0.05',
            f'{EXT} model.roi_head.bbox_head.readout=fc_conv',
            FASTER_RCNN_R50,
        )
    ),
    'double-head-cascade': Comparison(
        (
            'double_head/double-head-cascade-rcnn_r50_fpn_1x_coco.py',
            'mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py',
        )
    ),
    # 'auto' trains the conv-head on positive RoIs with group norm, on all with batch norm.
    'double-head-positives': Comparison(
        (
            GROUP_NORM,
            f'{GROUP_NORM} {ON_ALL_ROIS}',
            DOUBLE_HEAD,
            f'{DOUBLE_HEAD} {ON_ALL_ROIS}',
            FASTER_RCNN_R50,
        )
    ),
    'double-head-roi': Comparison((DOUBLE_HEAD, MMDET_DOUBLE_HEAD), kind='roi_head'),
    'ipgnet': Comparison(('ipgnet/faster-rcnn_ipgnet50_fpn_8xb4-1x_coco.py', FASTER_RCNN_R50)),
    'retinanet-conf': Comparison(
        (
            'retinanet_conf/retinanet-conf_r50_fpn_1x_coco.py',
            'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py',
        )
    ),
}
# Survivors of 1000 proposals at which RoI heads alone are compared.
ROI_SURVIVORS = (50, 100, 200, 1000)


def find_comparisons(what: Sequence[str]) -> dict[str, Comparison]:
    """Look up known comparisons by name, or make one from configs.

    Raises:
        ValueError: If they are neither.
    """
    if all(name in COMPARISONS for name in what):
        return {
            key: comparison
            for name in what
            for key, comparison in _expand(name, COMPARISONS[name]).items()
        }
    if len(what) < 2 or any(name in COMPARISONS for name in what):
        raise ValueError(
            f'expected comparisons among {sorted(COMPARISONS)}, or at least two configs, of which '
            f'the last is the reference; got {list(what)}.'
        )
    return {Entry(what[0]).stem: Comparison(tuple(what))}


def _expand(name: str, comparison: Comparison) -> dict[str, Comparison]:
    if comparison.kind != 'roi_head':
        return {name: comparison}
    return {f'{name}-{number}': replace(comparison, survivors=number) for number in ROI_SURVIVORS}


def make_entries(
    comparison: Comparison,
    settings: Settings = PLAIN,
    accelerate: str = 'all',
    checkpoints: Sequence[str] = (),
) -> list[Entry]:
    """List the entries of a comparison, the reference last.

    Args:
        comparison: Its configs.
        settings: Settings of accelerated entries.
        accelerate: Accelerated entries: ``'all'``; ``'ours'``, all but the reference; or
            ``'added'``, an additional entry for each config.
        checkpoints: One per config, or none.

    Returns:
        The entries.

    Raises:
        ValueError: If there are checkpoints, but not one per config.
    """
    if checkpoints and len(checkpoints) != len(comparison.configs):
        raise ValueError(
            f'checkpoints must be one file for each of {list(comparison.configs)}, got '
            f'{list(checkpoints)}.'
        )
    paths: Sequence[str | None] = checkpoints or [None] * len(comparison.configs)
    plain = [
        Entry(config, comparison.kind, checkpoint=path)
        for config, path in zip(comparison.configs, paths, strict=True)
    ]
    fast = [replace(entry, settings=settings) for entry in plain]
    if accelerate == 'added' and settings != PLAIN:
        # Keep the plain reference last: everything is compared with unchanged MMDetection.
        return [entry for pair in zip(fast, plain, strict=True) for entry in pair]
    return fast[:-1] + (plain[-1:] if accelerate == 'ours' else fast[-1:])
