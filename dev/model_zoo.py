"""Write docs/model_zoo.md, the table of all models, from the metafiles that model-index.yml lists.

    python dev/model_zoo.py

The name of a metric gives its source in parentheses: ``box AP (paper, Table 1): 39.5``. Without
parentheses, the result is ours.
"""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
BEGIN = '<!-- The model zoo: `make zoo` writes it from the metafiles. -->'
END = '<!-- End of the model zoo. -->'
HEADINGS = (
    'config',
    'method',
    'data',
    'paper, authors',
    'MMDetection',
    'ours',
    'weights',
)
# Column of a metric, by the first word in its parentheses.
COLUMN_OF_SOURCE = {'paper': 0, "authors'": 0, 'MMDetection': 1, '': 2}
# Name of a metric and, in parentheses, its source unless it is ours.
METRIC = re.compile(r'(?P<name>[^()]+?)(?: \((?P<source>[^()]+)\))?')


def make_table(root: Path = ROOT) -> str:
    """Make the table of all models, with results first and without empty columns.

    Args:
        root: Folder that holds model-index.yml.

    Returns:
        Lines of Markdown, with links relative to ``docs/``.

    Raises:
        ValueError: If the name of a metric does not follow the rule above.
    """
    models = [
        (model, collection)
        for metafile in read_metafiles(root)
        for collection in metafile['Collections']
        for model in metafile['Models']
        if model['In Collection'] == collection['Name']
    ]
    models.sort(key=lambda pair: not pair[0].get('Results'))
    columns = zip(HEADINGS, *[_row(model, collection) for model, collection in models], strict=True)
    heading, *rows = zip(*[column for column in columns if any(column[1:])], strict=True)
    return '\n'.join(f'| {" | ".join(row)} |' for row in (heading, ['---'] * len(heading), *rows))


def read_metafiles(root: Path) -> Iterator[dict[str, Any]]:
    """Read the metafiles that model-index.yml lists.

    Args:
        root: Folder that holds model-index.yml.

    Yields:
        Their contents, in the order of the list.
    """
    for name in yaml.safe_load((root / 'model-index.yml').read_text())['Import']:
        yield yaml.safe_load((root / name).read_text())


def insert_table(page: str, table: str) -> str:
    """Insert the table between its two comments.

    Args:
        page: Text with each of the comments ``BEGIN`` and ``END`` once.
        table: The table.

    Returns:
        The text with its table replaced.

    Raises:
        ValueError: If a comment is missing or repeated.
    """
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.find(BEGIN) > page.find(END):
        raise ValueError(f'the page must have the lines {BEGIN!r} and {END!r}, once, in order.')
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    return f'{before}{BEGIN}\n\n{table}\n\n{END}{after}'


def _row(model: dict[str, Any], collection: dict[str, Any]) -> list[str]:
    url = model.get('Weights', '')
    weights = f'[model]({url})' if url.startswith('http') else ''
    config = f'[`{model["Name"]}`](../{model["Config"]})'
    method = f'[{collection["Name"]}](../{collection["README"]})'
    data = model.get('Metadata', {}).get('Training Data', '')
    return [config, method, data, *_results(model), weights]


def _results(model: dict[str, Any]) -> list[str]:
    """Sort the metrics of a model into columns by source."""
    columns: list[list[str]] = [[] for _ in set(COLUMN_OF_SOURCE.values())]
    for result in model.get('Results', []):
        for metric, value in result['Metrics'].items():
            match = METRIC.fullmatch(metric)
            source = (match['source'] or '') if match else None
            publisher = None if source is None else re.split(r'[ ,]', source)[0]
            if publisher not in COLUMN_OF_SOURCE:
                raise ValueError(
                    f'{model["Name"]}: metric {metric!r} must be named as in "box AP (paper, Table '
                    f'1)", with one of {[key for key in COLUMN_OF_SOURCE if key]} first in the '
                    'brackets, or without brackets if the result is our own.'
                )
            note = f' ({source})' if source else ''
            columns[COLUMN_OF_SOURCE[publisher]].append(f'{match["name"]} {value}{note}')
    return ['; '.join(column) for column in columns]


def main() -> None:
    """Write the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--page', type=Path, default=ROOT / 'docs/model_zoo.md', help='to change')
    args = parser.parse_args()
    try:
        args.page.write_text(insert_table(args.page.read_text(), make_table()))
    except (FileNotFoundError, ValueError) as error:
        parser.exit(1, f'{error}\n')


if __name__ == '__main__':
    main()
