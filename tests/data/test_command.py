"""`mmdet-detnet` answers what it can without the seconds that torch and mmdet take."""

import subprocess
import sys

import pytest

CALL = """
import sys
from mmdet_detnet.data.command import main
try:
    main(sys.argv[1:])
finally:
    print({'torch', 'mmdet'} & {*sys.modules})
"""


@pytest.mark.parametrize(
    ('arguments', 'status', 'answer'),
    [
        (['new', '--help'], 0, '--group-by'),
        (['new', 'data', '--model', 'yolo'], 2, "invalid choice: 'yolo'"),
        (['new', 'data', '--epoch-s', '7'], 2, 'unrecognized arguments: --epoch-s 7'),
    ],
)
def test_nothing_heavy_is_imported_for_an_answer(arguments, status, answer):
    program = subprocess.run(
        [sys.executable, '-c', CALL, *arguments], capture_output=True, text=True
    )
    assert program.returncode == status
    assert answer in program.stdout + program.stderr
    assert program.stdout.endswith('set()\n')
