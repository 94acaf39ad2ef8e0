"""Mutation testing: change one place of the code, and see whether a test of its module fails.

    python dev/mutation.py 60 0    # number of mutants and seed, as `make mutation`

cosmic-ray makes the mutants. They are tried in a copy of the sources, never in the checkout.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

ROOT = Path(__file__).resolve().parent.parent
ARGUMENTS = 'models/test_arguments_of_modules.py'
# Modules, and the tests of each.
TESTS = {
    'checkpoints.py': 'checkpoints',
    'models/detectron.py': 'models/test_detectron.py',
    'models/detnet.py': f'{ARGUMENTS} models/test_detnet.py models/test_resnet.py',
    'models/double_head/*.py': f'{ARGUMENTS} models/double_head test_properties.py',
    'models/ipgnet.py': f'{ARGUMENTS} models/test_ipgnet.py models/test_resnet.py',
    'models/resnet.py': f'{ARGUMENTS} models/test_resnet.py models/test_detnet.py',
    'models/retinanet_conf.py': f'{ARGUMENTS} models/test_retinanet_conf.py test_properties.py',
    # Without torchvision_kernels.py, which needs a torchvision.
    'operators/[!t]*.py': 'operators test_properties.py',
}
SECONDS = 300  # a mutant that takes longer counts as killed


def draw(package: Path, seed: str) -> Iterator[tuple[Path, int, str, str]]:
    """Draw places at random, and a mutant of each: file, line, tests and mutated source."""
    places = defaultdict(list)
    for pattern, tests in TESTS.items():
        for path in sorted(package.glob(pattern)):
            nodes = list(ast_nodes(get_ast(path.read_text())))
            for name in operator_names():
                # Of the bar, most are in annotations.
                if get_operator(name).arguments() or 'Operator_BitOr' in name:
                    continue
                operator = get_operator(name)()
                found = [start for node in nodes for start, _ in operator.mutation_positions(node)]
                for occurrence, start in enumerate(found):
                    places[path, tests, start].append((operator, occurrence))
    generator = random.Random(seed)
    for path, tests, start in generator.sample(sorted(places), len(places)):
        mutated = mutate_code(path.read_text(), *generator.choice(places[path, tests, start]))
        try:
            compile(mutated, path.name, 'exec')
        except SyntaxError:
            continue
        yield path, start[0], tests, mutated


def passes(folder: Path, tests: str) -> bool:
    """Run tests until one fails."""
    command = [sys.executable, *'-m pytest -q -x -p no:cacheprovider'.split()]
    command += [f'tests/{name}' for name in tests.split()]
    variables = {'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(folder), 'PYTHONDONTWRITEBYTECODE': '1'}
    options = dict(cwd=folder, env={**os.environ, **variables}, stdout=subprocess.DEVNULL)
    try:
        return subprocess.run(command, timeout=SECONDS, **options).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def main(number: int, seed: str) -> None:
    """Try the mutants; print each, and how many were killed."""
    killed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ('mmdet_detnet', 'tests', 'configs', 'tools', 'dev'):
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns('__pyc*'))
        shutil.copy(ROOT / 'pyproject.toml', folder)
        mutants = list(islice(draw(folder / 'mmdet_detnet', seed), number))
        for tests in sorted({tests for _, _, tests, _ in mutants}):
            if not passes(folder, tests):
                sys.exit(f'without a mutant, a test fails: {tests}')
        for path, line, tests, mutated in mutants:
            source = path.read_text()
            path.write_text(mutated)
            survives = passes(folder, tests)
            path.write_text(source)
            killed += not survives
            print('SURVIVED' if survives else 'killed', f'{path.relative_to(folder)}:{line}')
            for each in (source, mutated):
                print(f'    {each.splitlines()[line - 1].strip()}', flush=True)
    print(f'{killed} of {number} killed')


if __name__ == '__main__':
    main(int(sys.argv[1]), sys.argv[2])
