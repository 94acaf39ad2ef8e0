"""Evaluate a trained Double-Head-Ext with RoIs that skip the conv-head at test time.

    python tools/analysis_tools/sweep_gate_threshold.py CONFIG CHECKPOINT

Runs each validation batch with exact fused scores, with ``gate_score_thr`` at each threshold, and
with ``fusion='none'``, in turn. Prints a table of RoIs per image in the conv-head, box AP, and
time relative to exact. To use a threshold, pass ``--cfg-options model.roi_head.gate_score_thr=...``
to ``tools/test.py``, or write it into the config.
"""

from mmdet_detnet.checkpoints import force_weights_only
from mmdet_detnet.cli import make_parser
from mmdet_detnet.evaluation.sweeps import THRESHOLDS, sweep_gate


def main() -> None:
    """Run the command line."""
    force_weights_only()
    shared = ('config', 'checkpoint', '--cfg-options', '--device', '--allow-mismatch')
    parser = make_parser(__doc__, *shared)
    parser.add_argument('--thresholds', type=float, nargs='+', default=THRESHOLDS)
    try:
        print(sweep_gate(**vars(parser.parse_args())))
    except (FileNotFoundError, ValueError) as error:
        parser.exit(1, f'{error}\n')


if __name__ == '__main__':
    main()
