"""Draw ground truth beside predictions for the first images of a config's test set.

python tools/analysis_tools/contact_sheet.py CONFIG CHECKPOINT --out sheet.png
"""

from mmdet_detnet.checkpoints import force_weights_only
from mmdet_detnet.cli import make_parser
from mmdet_detnet.evaluation.contact_sheet import make_contact_sheet


def main() -> None:
    """Run the command line."""
    force_weights_only()
    parser = make_parser(__doc__, 'config', 'checkpoint', '--device', '--allow-mismatch')
    parser.add_argument('--out', default='contact_sheet.png', help='image to write')
    parser.add_argument('--num-images', type=int, default=8, help='number of images to show')
    parser.add_argument('--score-thr', type=float, default=0.3, help='minimum score to draw')
    try:
        print(make_contact_sheet(**vars(parser.parse_args())))
    except (FileNotFoundError, ValueError) as error:
        parser.exit(1, f'{error}\n')


if __name__ == '__main__':
    main()
