"""Imports point one way: models <- weights, training, deployment <- data, evaluation, benchmark."""

import ast
from pathlib import Path

import pytest

import mmdet_detnet

PACKAGE = Path(mmdet_detnet.__file__).parent
# Folders of the package, the lowest first: each imports those before its own line only.
LEVELS = (
    {'operators'},
    {'models'},
    {'weights', 'training', 'deployment'},
    {'data', 'evaluation', 'benchmark'},
)
ROOMS = sorted(
    path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name[0] not in '._'
)


def imported_rooms(file):
    """List the folders of the package that a file imports, anywhere in it."""
    names = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names.append(node.module)
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    parts = [name.split('.') for name in names if name.startswith('mmdet_detnet.')]
    return {part[1] for part in parts if (PACKAGE / part[1]).is_dir()}


@pytest.mark.parametrize('room', ROOMS)
def test_imports_point_one_way(room):
    level = next(index for index, rooms in enumerate(LEVELS) if room in rooms)
    allowed = set().union(*LEVELS[: level + 1])
    wrong = {
        f'{file.relative_to(PACKAGE)} imports {other}'
        for file in (PACKAGE / room).rglob('*.py')
        for other in imported_rooms(file) - allowed
    }
    assert not wrong


def test_imports_stand_at_the_top_of_a_file():
    """But in cli.py, since an option's help must not wait for torch."""
    hidden = [
        f'{file.relative_to(PACKAGE)}:{node.lineno}'
        for file in PACKAGE.rglob('*.py')
        if '.mim' not in file.parts and file != PACKAGE / 'cli.py'
        for function in ast.walk(ast.parse(file.read_text()))
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.ImportFrom | ast.Import) and 'mmdet_detnet' in ast.unparse(node)
    ]
    assert not hidden
