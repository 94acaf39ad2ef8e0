"""Compare the scores of detections with the IoU of their boxes.

    python tools/analysis_tools/misalignment.py CONFIG CHECKPOINT --out-dir misalignment

takes any MMDetection config that predicts boxes. To compare with a second detector, here the same
one without its joint score:

    ... --compare CONFIG CHECKPOINT --compare-options model.bbox_head.conf_exponent=0

Writes ``misalignment.json`` and ``misalignment.png``; ``mmdet_detnet.evaluation.misalignment``
explains how detections are counted.
"""

import json
import sys

import mmdet_detnet  # noqa: F401  (before torch, whose OpenMP reads what it sets)

# isort: split
from mmdet_detnet.checkpoints import force_weights_only
from mmdet_detnet.command_line import PAIRS, make_parser
from mmdet_detnet.evaluation.misalignment import (
    FILES,
    detector_name,
    match_data_set,
    write_misalignment,
)
from mmdet_detnet.files import OutputFolder


def main() -> None:
    """Run the command line."""
    force_weights_only()
    parser = make_parser(
        __doc__, 'config', 'checkpoint', '--cfg-options', '--device', '--allow-mismatch'
    )
    add = parser.add_argument
    add('--compare', nargs=2, metavar=('CONFIG', 'CHECKPOINT'), help='a second detector')
    add('--compare-options', **PAIRS, help='its settings, key=value ...')
    add('--score-thr', type=float, default=0.05, help='minimum score to count')
    add('--out-dir', default='misalignment', help='folder for the results')
    args = parser.parse_args()
    if args.compare_options and not args.compare:
        parser.error('--compare-options needs --compare')
    detectors = [(args.config, args.checkpoint, dict(args.cfg_options))]
    if args.compare:
        detectors.append((*args.compare, dict(args.compare_options)))
    results = []
    try:
        OutputFolder(args.out_dir).check(*FILES)  # before the work
        for config, checkpoint, options in detectors:
            shared = dict(device=args.device, allow_mismatch=args.allow_mismatch)
            detections = match_data_set(
                config, checkpoint, args.score_thr, cfg_options=options, **shared
            )
            results.append((detector_name(config, checkpoint, options), detections))
    except (OSError, ValueError) as error:
        sys.exit(f'misalignment: {error}')
    for numbers in write_misalignment(results, args.out_dir, args.score_thr):
        print(json.dumps(numbers, indent=1))


if __name__ == '__main__':
    main()
