"""Evaluate a head with a confidence branch for several exponents of the joint score.

    python tools/analysis_tools/sweep_conf_exponent.py CONFIG CHECKPOINT

The network runs once over the validation set. Its outputs are converted to detections for each
exponent, with ``select_by='joint'`` as in the authors' code, and with ``'cls'``, which gives every
exponent the same candidates. Prints a table in Markdown. To use the best exponent, pass
``--cfg-options model.bbox_head.conf_exponent=...`` to ``tools/test.py``, or write it into the
config.
"""

import sys

from tabulate import tabulate

from mmdet_detnet.checkpoints import force_weights_only
from mmdet_detnet.command_line import make_parser
from mmdet_detnet.evaluation.sweeps import EXPONENTS, sweep_conf_exponent


def main() -> None:
    """Run the command line."""
    force_weights_only()
    shared = ('config', 'checkpoint', '--cfg-options', '--device', '--allow-mismatch')
    parser = make_parser(__doc__, *shared)
    text = 'values of conf_exponent; default: 0, 0.1 ... 0.7'
    parser.add_argument('--exponents', type=float, nargs='+', default=EXPONENTS, help=text)
    args = parser.parse_args()
    args.cfg_options = dict(args.cfg_options)
    try:
        rows = sweep_conf_exponent(**vars(args))
    except (OSError, ValueError) as error:
        sys.exit(f'sweep_conf_exponent: {error}')
    digits = ('g', 'g', *['.3f'] * 6)
    print(tabulate(rows, headers='keys', tablefmt='github', floatfmt=digits, missingval='-'))


if __name__ == '__main__':
    main()
