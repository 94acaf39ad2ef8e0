"""Compare detectors with their ONNX files, and print the table of docs/export.md.

    python dev/onnx_parity.py

Trains a slim detector of each family on the drawn shapes unless work_dirs/onnx has it, writes its
ONNX file, and compares detections, AP and time, best on an idle machine. Each row is printed as
soon as it is measured.
"""

import copy
import subprocess
import sys
from pathlib import Path

# First, since it provides mmcv's operators where mmcv has none.
import mmdet_detnet  # noqa: F401

# isort: split
import cv2
import numpy as np
import onnx
import torch
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.config import Config, ConfigDict
from run_demo import CONFIG, TOOLS, make_config
from torch import nn

from mmdet_detnet import config_path
from mmdet_detnet.cli import at_least, make_parser
from mmdet_detnet.data.drawn_shapes import generate_shapes
from mmdet_detnet.deployment.acceleration import accelerate
from mmdet_detnet.deployment.export import OnnxDetector, export_onnx
from mmdet_detnet.deployment.export.onnx_detector import to_instances
from mmdet_detnet.evaluation.loading import load_detector
from mmdet_detnet.evaluation.onnx_evaluation import Result, compare, evaluate

CONFIDENCE_OPTIONS = ('conf_exponent', 'select_by', 'detach_iou_target', 'loss_conf')
SLIM_WIDTH = dict(in_channels=64, fc_out_channels=256, num_classes=3)


def as_it_is(name: str) -> ConfigDict:
    """Return the detector of a config."""
    return Config.fromfile(config_path(name)).model


def cascade(name: str) -> ConfigDict:
    """Put the heads of a config of Cascade R-CNN on the slim ResNet-50."""
    model = as_it_is('custom/faster-rcnn_r50-slim_fpn_custom.py')
    heads = as_it_is(name)
    extractor = heads.roi_head.bbox_roi_extractor
    extractor.update(out_channels=64, finest_scale=16, featmap_strides=[4, 8, 16, 32])
    for head in heads.roi_head.bbox_head:
        head.update(SLIM_WIDTH)
        if 'conv_out_channels' in head:
            head.conv_out_channels = 256
    model.type, model.roi_head = 'CascadeRCNN', heads.roi_head
    model.train_cfg.rcnn, model.test_cfg.rcnn = heads.train_cfg.rcnn, heads.test_cfg.rcnn
    return model


def retinanet(name: str) -> ConfigDict:
    """Return a RetinaNet-Conf without its confidence branch."""
    model = as_it_is(name)
    for option in CONFIDENCE_OPTIONS:
        model.bbox_head.pop(option)
    model.bbox_head.type = 'RetinaHead'
    return model


DETECTORS = {
    'faster-rcnn_detnet59': (as_it_is, CONFIG),
    'double-head-ext_r50': (as_it_is, 'custom/double-head-ext_r50-slim_fpn_custom.py'),
    'retinanet-conf_r50': (as_it_is, 'custom/retinanet-conf_r50-slim_fpn_custom.py'),
    'faster-rcnn_ipgnet50': (as_it_is, 'custom/faster-rcnn_ipgnet50-slim_fpn_custom.py'),
    'double-head-cascade_r50': (
        cascade,
        'double_head/double-head-cascade-rcnn_r50_fpn_1x_coco.py',
    ),
    'cascade-rcnn_r50': (cascade, 'detnet/cascade-rcnn_detnet59_fpn_1x_coco.py'),
    'retinanet_r50': (retinanet, 'custom/retinanet-conf_r50-slim_fpn_custom.py'),
}
# Batch, height and width: the smallest, a very wide one, odd ones.
SHAPES = ((1, 32, 32), (2, 160, 160), (3, 96, 736), (1, 203, 331))
HEADER = """| detector | nodes | MB | equal, of other sizes | equal, in the test images \
| AP PyTorch | AP onnxruntime | ms PyTorch | ratio accelerated | ratio onnxruntime |
|---|---|---|---|---|---|---|---|---|---|"""


def prepare(name: str, work_dir: Path, data_root: Path, epochs: int) -> tuple[Path, Path]:
    """Train a detector unless it exists; return its config and checkpoint."""
    make, config = DETECTORS[name]
    folder = work_dir / name
    file, checkpoint = folder / f'{name}.py', folder / f'epoch_{epochs}.pth'
    if checkpoint.is_file():
        return file, checkpoint
    cfg = make_config(data_root, epochs)
    cfg.model = make(config)
    cfg.train_cfg.val_interval = epochs
    folder.mkdir(parents=True, exist_ok=True)
    cfg.dump(file)
    command = [TOOLS / 'train.py', file, '--work-dir', folder]
    subprocess.run([sys.executable, *map(str, command)], check=True)
    return file, checkpoint


@torch.no_grad()
def compare_sizes(detector: nn.Module, exported: OnnxDetector, data_root: Path) -> tuple[int, int]:
    """Count equal and all detections in batches of drawn images of other sizes."""
    paths = sorted((data_root / 'val').glob('*.png'))
    results = Result(), Result()
    for batch, height, width in SHAPES:
        images = [cv2.resize(cv2.imread(str(path)), (width, height)) for path in paths[:batch]]
        pixels = np.stack(images).transpose(0, 3, 1, 2)
        size = dict(img_shape=(height, width), ori_shape=(height, width), scale_factor=(1.0, 1.0))
        samples = [DetDataSample(metainfo=size) for _ in images]
        data = dict(inputs=list(torch.from_numpy(pixels)), data_samples=samples)
        found = exported.detect(np.ascontiguousarray(pixels[:, ::-1]))
        results[0].detections += map(to_instances, found)
        results[1].detections += [each.pred_instances for each in detector.test_step(data)]
    return compare(*results)


def measure(name: str, config: Path, checkpoint: Path, data_root: Path, num_threads: int) -> str:
    """Write the ONNX file of a detector and compare both; return a row of the table."""
    detector = load_detector(config, checkpoint, device='cpu')
    file = config.with_suffix('.onnx')
    export_onnx(detector, file)
    exported = OnnxDetector(file, num_threads)
    other_sizes = compare_sizes(detector, exported, data_root)
    detectors = {
        'PyTorch': detector,
        'accelerated': accelerate(copy.deepcopy(detector)),
        'onnxruntime': exported,
    }
    results = evaluate(Config.fromfile(config), detectors)
    first, accelerated, runtime = results.values()
    cells = [
        name,
        len(onnx.load(file).graph.node),
        f'{file.stat().st_size / 1e6:.1f}',
        '{} of {}'.format(*other_sizes),
        '{} of {}'.format(*compare(runtime, first)),
        f'{first.box_ap:.3f}',
        f'{runtime.box_ap:.3f}',
        f'{1000 * first.median_seconds:.0f}',
        *(f'{r.median_seconds / first.median_seconds:.2f}' for r in (accelerated, runtime)),
    ]
    return f'| {" | ".join(map(str, cells))} |'


def main() -> None:
    """Print the table for the detectors of the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('names', nargs='*', help=f'detectors: {", ".join(DETECTORS)}; all if none')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/onnx'))
    parser.add_argument('--data-root', type=Path, default=Path('data/shapes'))
    parser.add_argument('--epochs', type=at_least(1), default=3, help='length of the trainings')
    parser.add_argument('--num-threads', type=at_least(1), default=2, help='threads of each')
    args = parser.parse_args()
    unknown = set(args.names) - set(DETECTORS)
    if unknown:
        parser.error(f'no such detector: {", ".join(sorted(unknown))}')
    register_all_modules()
    torch.set_num_threads(args.num_threads)
    generate_shapes(args.data_root, num_train=400, num_val=100)
    names = args.names or list(DETECTORS)
    files = {name: prepare(name, args.work_dir, args.data_root, args.epochs) for name in names}
    print(HEADER)
    for name, (config, checkpoint) in files.items():
        row = measure(name, config, checkpoint, args.data_root, args.num_threads)
        print(row, flush=True)


if __name__ == '__main__':
    main()
