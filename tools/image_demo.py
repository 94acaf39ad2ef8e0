"""Detect objects in an image, a folder of images or a glob, with any MMDetection model.

    python tools/image_demo.py CONFIG CHECKPOINT 'photos/*.jpg' --out-dir outputs

    python tools/image_demo.py detector.onnx 'photos/*.jpg'

writes annotated pictures to ``outputs/vis`` and all detections to ``outputs/predictions.json``:

    {"score_thr": 0.3, "images": [{"path": "photos/a.jpg", "detections": [
     {"label": "cat", "score": 0.9, "bbox": [x1, y1, x2, y2]}]}], "failed": ["photos/broken.jpg"]}

Boxes are corners in pixels of the image; models with masks add ``mask``, a COCO run-length
encoding. Images that are missing, damaged or cannot be processed are listed on stderr; the others
continue, and the exit status is 1. The file is valid after each image. A checkpoint of another
detector, for example with other classes, is rejected.
"""

import os
import sys

os.environ.setdefault('OMP_WAIT_POLICY', 'passive')  # OpenMP reads it when torch is imported

from mmdet_detnet.checkpoints import force_weights_only
from mmdet_detnet.cli import make_parser
from mmdet_detnet.evaluation.image_demo import detect_images, find_images, is_onnx


def main() -> int:
    """Detect objects in the given images and return the exit status."""
    force_weights_only()
    parser = make_parser(__doc__, '--device', '--allow-mismatch')
    parser.add_argument('config', help='config file of the detector; an ONNX file needs none')
    parser.add_argument('checkpoint', help='checkpoint or ONNX file of the detector')
    parser.add_argument('images', nargs='*', help='image files, folders or (quoted) globs')
    parser.add_argument('--out-dir', default='outputs', help='folder for the results')
    parser.add_argument('--score-thr', type=float, default=0.3, help='minimum score to report')
    args = parser.parse_intermixed_args()  # images may follow options
    if is_onnx(args.config):
        args.images = [args.checkpoint, *args.images]
        args.config, args.checkpoint = None, args.config
    if not args.images:
        parser.error('the following arguments are required: images')
    try:
        args.images = [image for pattern in args.images for image in find_images(pattern)]
        failed = detect_images(**vars(args))
    except (FileNotFoundError, ImportError, ValueError) as error:
        parser.exit(2, f'{error}\n')
    found = len(args.images) - len(failed)
    print(f'{found} images detected, {len(failed)} failed: {args.out_dir}')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
