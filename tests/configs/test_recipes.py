"""Every config trains with what docs/recipes.md says."""

from pathlib import Path

import pytest
from recipe import describe, describe_schedule

from mmdet_detnet import config_path

pytestmark = pytest.mark.xdist_group('configs')

ROOT = Path(config_path())
PATHS = sorted(path.relative_to(ROOT) for path in ROOT.rglob('*.py'))
FILES = {path.stem: str(path) for path in PATHS if '_base_' not in path.parts}
DOCUMENT = Path(__file__).resolve().parents[2] / 'docs' / 'recipes.md'


def read_tables():
    """Read the rows of all tables, each with the headings of its table."""
    headings = None
    for line in DOCUMENT.read_text().splitlines():
        if not line.startswith('| '):
            headings = headings if line.startswith('|---') else None
            continue
        cells = [cell.strip(' `') for cell in line.strip('|').split('|')]
        if headings is None:
            headings = cells
        else:
            yield dict(zip(headings, cells, strict=True))


def read_recipes(rows):
    """Read the settings of each config: those that its method shares, and the differences."""
    shared = {}
    for row in rows:
        if 'config' not in row:
            shared = row
            continue
        yield row['config'], shared | read_differences(row['differences'], shared)


def read_differences(cell, shared):
    """Read a cell such as `frozen stem; norms BN`, which names settings of the method only."""
    differences = {}
    for part in cell.split('; ') if cell != '-' else []:
        (name,) = [name for name in shared if part.startswith(f'{name} ')]
        differences[name] = part.removeprefix(f'{name} ')
    return differences


ROWS = list(read_tables())
SCHEDULES = {row['schedule']: row for row in ROWS if 'epochs' in row}
RECIPES = dict(read_recipes(ROWS))


def test_every_config_has_one_row():
    assert sorted(row['config'] for row in ROWS if 'config' in row) == sorted(FILES)


@pytest.mark.parametrize('name', FILES)
def test_config_trains_as_its_row_says(name, load_config):
    recipe = {key: value for key, value in RECIPES[name].items() if key != 'source'}
    schedule = recipe.pop('schedule')
    config = load_config(FILES[name])
    assert {'schedule': schedule, **describe_schedule(config)} == SCHEDULES[schedule]
    description = describe(config)
    assert {key: description.get(key, '-') for key in recipe} == recipe
