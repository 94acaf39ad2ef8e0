"""Read, write and pack the results of a study: one JSON file per run, or one file of all runs.

A result may come from anyone, so all that the report reads of it is checked here.
"""

import json
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmdet_detnet.files import read_json, write_file

from .matches import IOU_THRESHOLDS, METRICS, reduce_matches
from .plan import Run, name_run

Result = dict[str, Any]
PACKED = 'results.json.xz'
MAX_BYTES = 2**28  # of JSON in one file; a run on 500 images has 2**17 to 2**18
MAX_OBJECTS = 2**31
NUMBER = (int, float)
KINDS: dict[str, Any] = dict(detector=str, data_set=str, seed=int)
KINDS_IF_FINISHED: dict[str, Any] = dict(
    **dict(config=str, options=dict, config_hash=str, epochs=int, device=str, threads=int),
    **dict(final_loss=NUMBER, train_seconds=NUMBER, cpu_seconds=NUMBER),
    **dict(metrics=dict, per_class=dict, images=int, matches=dict),
)
SETTINGS = ('config', 'options', 'config_hash')


def name_result(result: Result) -> str:
    """Name the run that made a result."""
    return name_run(result['data_set'], result['detector'], result['seed'])


def result_path(run: Run, folder: Path) -> Path:
    """Return the path of a run's result."""
    return folder / 'results' / f'{run.name}.json'


def write_result(file: Path, result: Result) -> None:
    """Write a result atomically."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_file(file, (json.dumps(result, separators=(',', ':')) + '\n').encode())


def read_results(folder: Path, *more: Path) -> dict[str, Result]:
    """Read all results of a study: ``results.json.xz`` and ``results/*.json``.

    Args:
        folder: Folder of the study.
        more: Other packed files; missing ones have no results.

    Returns:
        The results by the name of their run, in the order of the names. Their matches are reduced.

    Raises:
        ValueError: If a file is not a result, a run has two different results, or results of one
            detector have other settings, or of one dataset other images or classes.
    """
    found: dict[str, Result] = {}
    for file in dict.fromkeys([*more, folder / PACKED]):
        for result in _unpack(file) if file.exists() else []:
            _add(found, result, file)
    for file in sorted((folder / 'results').glob('*.json')):
        if file.stat().st_size > MAX_BYTES:
            raise ValueError(f'{file} is not a result of a study: it has over {MAX_BYTES} bytes.')
        _add(found, read_json(file), file)
    return dict(sorted(found.items()))


def pack_results(folder: Path, file: Path) -> int:
    """Add the results of a study's folder to a packed file; the same results give the same bytes.

    Returns:
        The number of results that are in the file now.

    Raises:
        ValueError: As in :func:`read_results`, or if there are no results.
    """
    results = read_results(folder, file)
    if not results:
        raise ValueError(f'{folder} has no results to pack.')
    # The order of the classes is that of the report's columns; the other keys are sorted.
    content = [{key: result[key] for key in sorted(result)} for result in results.values()]
    file.parent.mkdir(parents=True, exist_ok=True)
    write_file(file, lzma.compress(json.dumps(content, separators=(',', ':')).encode()))
    return len(results)


def _unpack(file: Path) -> list[Any]:
    try:
        with lzma.open(file) as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ValueError(f'it unpacks to over {MAX_BYTES} bytes')
        results = json.loads(content)
        if not isinstance(results, list):
            raise ValueError('it must be a list')
    except (EOFError, RecursionError, ValueError, lzma.LZMAError) as error:
        raise ValueError(f'{file} does not have packed results: {error}.') from error
    return results


def _add(found: dict[str, Result], result: Any, file: Path) -> None:
    """Add a result, which may be the one that is there; a failed run may have been repeated."""
    problem = next(_find_problems(result), None)
    if problem:
        raise ValueError(f'{file} is not a result of a study: {problem}.')
    if 'failure' not in result:
        matches = result['matches'].items()
        result = {**result, 'matches': {name: reduce_matches(each) for name, each in matches}}
    name = name_result(result)
    earlier = found.get(name, result)
    if earlier != result and 'failure' not in earlier:
        raise ValueError(f'{file}: there is another, different result of {name}.')
    for each in found.values():
        if each['data_set'] == result['data_set'] and not {'failure'} & {*each, *result}:
            keys = SETTINGS if each['detector'] == result['detector'] else ()
            different = [key for key in (*keys, 'images') if each[key] != result[key]]
            if list(each['per_class']) != list(result['per_class']):
                different.append('per_class')
            if different:
                names = f'{name_result(each)} and {name}'
                raise ValueError(f'{file}: {names} differ in {", ".join(different)}.')
    found[name] = result


def _find_problems(result: Any) -> Iterator[str]:
    """Yield what the report could not read; each expects that none came before."""
    if not isinstance(result, dict):
        yield 'it must be a mapping'
    kinds = KINDS | ({'failure': str} if 'failure' in result else KINDS_IF_FINISHED)
    for key, kind in kinds.items():
        if not isinstance(result.get(key), kind) or isinstance(result[key], bool):
            yield f'{key} is {"of the wrong type" if key in result else "missing"}'
    if 'failure' in result:
        return
    for key, names in (('metrics', METRICS), ('per_class', result['matches'])):
        values = result[key]
        if set(values) != set(names):
            yield f'{key} must have the keys {", ".join(names)}'
        if not all(value is None or type(value) in NUMBER for value in values.values()):
            yield f'a value in {key} is not a number'
    for name, matches in result['matches'].items():
        if not isinstance(matches, dict) or not _are_matches(matches, result['images']):
            yield f'the matches of {name} are damaged'


def _are_matches(matches: dict[str, Any], num_images: int) -> bool:
    image, marked = matches.get('image', ()), matches.get('marked', ())
    bits = 2 ** len(IOU_THRESHOLDS)
    return (
        _are_integers(image, num_images)
        and _are_integers(marked, len(image))
        and marked == sorted(set(marked))
        and _are_integers(matches.get('truths'), MAX_OBJECTS, num_images)
        and _are_integers(matches.get('hit'), bits, len(marked))
        and _are_integers(matches.get('ignored'), bits, len(marked))
    )


def _are_integers(values: Any, end: int, length: int | None = None) -> bool:
    """Tell whether this is a list of integers from 0 up to, but not including, ``end``."""
    return (
        isinstance(values, list)
        and length in (None, len(values))
        and all(type(value) is int and 0 <= value < end for value in values)
    )
