"""Plot the loss and the average precision of a training run.

    python tools/analysis_tools/plot_training.py work_dirs/my_run

reads the logs that mmengine's local visualization backend (the default one) keeps in a
work folder, and writes ``training.png`` there.
"""

import argparse

from mmdet_detnet.analysis.training_curves import plot_training


def main() -> None:
    """Plot what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('work_dir', help='work folder of a training')
    parser.add_argument('--run', help='one run, such as 20251120_101500; default: the newest')
    parser.add_argument('--out', default='', help='image to write; default: WORK_DIR/training.png')
    try:
        print(plot_training(**vars(parser.parse_args())))
    except (FileNotFoundError, ValueError) as error:
        parser.exit(1, f'{error}\n')


if __name__ == '__main__':
    main()
