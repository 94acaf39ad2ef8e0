"""Plot the loss and the average precision of a training run.

    python tools/analysis_tools/plot_training.py work_dirs/my_run

reads the logs of mmengine's local visualization backend (the default) in a work directory, and
writes ``training.png`` there.
"""

from mmdet_detnet.cli import make_parser
from mmdet_detnet.evaluation.training_curves import plot_training


def main() -> None:
    """Run the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('work_dir', help='work directory of a training run')
    parser.add_argument('--run', help='name of a run, such as 20251120_101500; default: the newest')
    parser.add_argument('--out', help='image to write; default: WORK_DIR/training.png')
    try:
        print(plot_training(**vars(parser.parse_args())))
    except (FileNotFoundError, ValueError) as error:
        parser.exit(1, f'{error}\n')


if __name__ == '__main__':
    main()
