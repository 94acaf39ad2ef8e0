"""What is compared: configs with their settings, the images, and comparisons known by name."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple


@dataclass(frozen=True)
class Workload:
    """Input of every row of a comparison: images, sides in pixels, and what passes ``score_thr``.

    Random weights would let nothing pass, and leave NMS without work.
    """

    height: int = 800
    width: int = 1333
    batch: int = 1
    candidates: int = 2000  # pairs of anchor and class of an image, in a one-stage detector
    passing: int = 100  # proposals of an image, in a two-stage detector
    seed: int = 0  # of weights, images and boxes

    def __str__(self) -> str:
        return f'{self.batch} x {self.height} x {self.width}'


@dataclass(frozen=True)
class Settings:
    """How a detector is accelerated, as by :func:`.accelerate`."""

    precision: str = 'fp32'  # or 'fp16', 'bf16'
    channels_last: bool = False
    compile: bool = False

    @property
    def name(self) -> str:
        """All settings in one word, such as ``'bf16_nhwc_compiled'``."""
        layout = 'nhwc' if self.channels_last else 'nchw'
        return f'{self.precision}_{layout}_{"compiled" if self.compile else "eager"}'


PLAIN = Settings()


@dataclass(frozen=True)
class Entry:
    """One detector of a comparison.

    Attributes:
        config: Path of a config, ``package::folder/file.py``, or a path among this package's;
            optionally followed by options that override the file's:
            ``a.py model.backbone.depth=101``.
        kind: ``'detector'``, or its ``'backbone'`` or ``'roi_head'`` alone.
        settings: How it is accelerated.
        checkpoint: Its weights; None for random weights shared with the reference.
    """

    config: str
    kind: str = 'detector'
    settings: Settings = PLAIN
    checkpoint: str | None = None

    @property
    def stem(self) -> str:
        """The config's file name without ``.py``."""
        return Path(split_options(self.config)[0].split('::')[-1]).stem

    @property
    def title(self) -> str:
        """The config's name, with its options and acceleration."""
        options = split_options(self.config)[1]
        # Without the path of a key.
        marks = [each[each[: each.find('=')].rfind('.') + 1 :] for each in options]
        if self.settings != PLAIN:
            marks.append(self.settings.name)
        return f'{self.stem} [{", ".join(marks)}]' if marks else self.stem


def split_options(name: str) -> tuple[str, list[str]]:
    """Split the name of a config into its path and its options ``key=value``."""
    path, suffix, options = name.partition('.py ')
    return path + suffix.strip(), options.split()


class Comparison(NamedTuple):
    """Configs to measure in turn; the last is the reference, MMDetection's counterpart.

    ``kind`` as of :class:`Entry`; ``passing`` as of :class:`Workload`, if the comparison sets it.
    """

    configs: tuple[str, ...]
    kind: str = 'detector'
    passing: int | None = None


DETNET = 'detnet/faster-rcnn_detnet59_fpn_1x_coco.py'
DETNET_MASK = 'detnet/mask-rcnn_detnet59_fpn_1x_coco.py'
IPGNET = 'ipgnet/faster-rcnn_ipgnet50_fpn_8xb4-1x_coco.py'
DOUBLE_HEAD = 'double_head/double-head_r50_fpn_1x_coco.py'
EXT = 'double_head/double-head-ext_r50_fpn_1x_coco.py'
CASCADE = 'double_head/double-head-cascade-rcnn_r50_fpn_1x_coco.py'
GROUP_NORM = 'double_head/double-head_r50_fpn_gn-head_1x_coco.py'
GATED = 'model.roi_head.gate_score_thr=0.05'
FC_SCORES = 'model.roi_head.bbox_head.fusion=none'
ON_ALL_ROIS = 'model.roi_head.regress_positives_only=False'
CONFIDENCE = 'retinanet_conf/retinanet-conf_r50_fpn_1x_coco.py'
R50 = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
R101 = 'mmdet::faster_rcnn/faster-rcnn_r101_fpn_1x_coco.py'
MASK_RCNN = 'mmdet::mask_rcnn/mask-rcnn_{}_fpn_1x_coco.py'
RETINANET = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
MMDET_CASCADE = 'mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py'
MMDET_DOUBLE_HEAD = 'mmdet::double_heads/dh-faster-rcnn_r50_fpn_1x_coco.py'

COMPARISONS = {
    'backbone': Comparison((DETNET, IPGNET, R101, R50), kind='backbone'),
    'detnet': Comparison((DETNET, R50, R101)),
    'detnet-mask': Comparison((DETNET_MASK, MASK_RCNN.format('r50'), MASK_RCNN.format('r101'))),
    'double-head': Comparison((DOUBLE_HEAD, EXT, MMDET_DOUBLE_HEAD, R50)),
    # What Ext's conv-head may leave out at test time, at the price of other detections.
    'double-head-ext': Comparison((EXT, f'{EXT} {GATED}', f'{EXT} {FC_SCORES}', R50)),
    'double-head-cascade': Comparison((CASCADE, MMDET_CASCADE)),
    # 'auto' trains the conv-head on positive RoIs with group norm, on all with batch norm.
    'double-head-positives': Comparison(
        (
            *(GROUP_NORM, f'{GROUP_NORM} {ON_ALL_ROIS}'),
            *(DOUBLE_HEAD, f'{DOUBLE_HEAD} {ON_ALL_ROIS}', R50),
        )
    ),
    # Of 1000 proposals.
    **{
        f'double-head-roi-{number}': Comparison(
            (DOUBLE_HEAD, MMDET_DOUBLE_HEAD), kind='roi_head', passing=number
        )
        for number in (50, 100, 200, 1000)
    },
    'ipgnet': Comparison((IPGNET, R50)),
    'retinanet-conf': Comparison((CONFIDENCE, RETINANET)),
}


def find_comparisons(what: Sequence[str]) -> dict[str, Comparison]:
    """Look up comparisons by name, or by the start of several names, or make one from configs.

    Raises:
        ValueError: If they are neither.
    """
    found = {
        name: comparison
        for each in what
        for name, comparison in COMPARISONS.items()
        if name == each or name.startswith(f'{each}-') and each not in COMPARISONS
    }
    if len(what) >= 2 and not found:
        return {Entry(what[0]).stem: Comparison(tuple(what))}
    if not all(any(name.startswith(each) for name in found) for each in what):
        raise ValueError(
            f'expected comparisons among {sorted(COMPARISONS)}, or at least two configs, of which '
            f'the last is the reference; got {list(what)}.'
        )
    return found


def make_entries(
    comparison: Comparison,
    settings: Settings = PLAIN,
    accelerate: str = 'all',
    checkpoints: Sequence[str] = (),
) -> list[Entry]:
    """List the entries of a comparison, the reference last.

    ``settings`` are those of ``'all'`` entries; of ``'ours'``, all but the reference; or of an
    ``'added'`` entry for each config. ``checkpoints`` are one per config, or none.
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
