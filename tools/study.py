"""Train detectors side by side with several seeds, and estimate their differences.

    python tools/study.py STUDY.yml

trains the detectors in STUDY.yml (docs/own_data.md, docs/evidence.md), writes one JSON file per
run, and prints the report. Run it again to resume after an interruption. `--report` only writes the
report. `--pack FILE` only adds the results to a compressed FILE; a folder with a `results.json.xz`
can stand for the one with the JSON files.
"""

import signal
import sys
from pathlib import Path

from mmdet_detnet.command_line import at_least, make_parser
from mmdet_detnet.evaluation.study import (
    count_jobs,
    execute,
    pack_results,
    read_study,
    write_report,
)


def main() -> None:
    """Run the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('study', type=Path, help='YAML file')
    text = 'runs at a time; default: one per core, or one on a GPU'
    parser.add_argument('--jobs', type=at_least(1), default=count_jobs(), help=text)
    parser.add_argument('--report', action='store_true', help='train nothing')
    parser.add_argument('--pack', type=Path, metavar='FILE', help='add the results to it')
    parser.add_argument('--out-dir', type=Path, help='default: work_dirs/ and the name of STUDY')
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    folder = args.out_dir or Path('work_dirs', args.study.stem)
    try:
        study = read_study(args.study)
        if args.pack:
            print(f'{args.pack}: {pack_results(folder, args.pack)} results')
            return
        if not args.report:
            execute(study.runs, folder, args.jobs)
        print(write_report(study, folder))
    except (OSError, RuntimeError, ValueError) as error:
        sys.exit(f'study: {error}')
    except KeyboardInterrupt:
        print('study: interrupted; the same command resumes.', file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


if __name__ == '__main__':
    main()
