"""Average precision that others have published for a config, with its source."""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import yaml

from mmdet_detnet import config_path

MMDET = 'mmdet::'
BOX_AP = 'box AP'
# A metric's name, and in brackets who published it if that is not the metafile's owner.
METRIC = re.compile(r'(?P<name>[^()]+?)(?: \((?P<source>[^()]+)\))?')


def published_ap(config: str) -> tuple[float, str] | None:
    """Look up a config's box AP on COCO in the metafile of its folder.

    Args:
        config: One of this package's, or ``mmdet::folder/file.py``.

    Returns:
        The AP in percent and who published it, or none.
    """
    if config.startswith(MMDET):
        root, owner = Path(find_spec('mmdet').origin).parent / '.mim' / 'configs', 'MMDetection'
    else:
        root, owner = Path(config_path()), 'mmdet_detnet'
    path = Path(config.removeprefix(MMDET))
    found = _box_ap_by_config(root / path.parent.name / 'metafile.yml').get(path.name)
    return None if found is None else (found[0], found[1] or owner)


@cache
def _box_ap_by_config(metafile: Path) -> dict[str, tuple[float, str | None]]:
    """Read the AP and its source, by file name of the config."""
    models = yaml.safe_load(metafile.read_text())['Models'] if metafile.is_file() else []
    return {
        Path(model['Config']).name: (value, match['source'])
        for model in models
        for result in model.get('Results') or []
        for name, value in result.get('Metrics', {}).items()
        if (match := METRIC.fullmatch(name)) and match['name'] == BOX_AP
    }
