"""Compare what .venv holds with the requirements; run by the Python of .venv, quick.

Nothing is imported but `packaging`, so this takes a fraction of a second where importing
torch takes seconds.
"""

import argparse
import importlib.util
import json
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement

# The set-up exchanges one for the other on machines without libGL.
SAME_MODULE = {'opencv-python': 'opencv-python-headless'}


def unmet_requirements(lines: list[str]) -> list[str]:
    """Find the requirements that .venv does not meet.

    Args:
        lines: Lines of requirements files, such as ``'numpy==2.4.6'``; comments allowed.

    Returns:
        One short text each, such as ``'numpy==2.4.6 (1.26.4 is installed)'``.
    """
    unmet = []
    for line in lines:
        text = re.sub(r'(^|\s)#.*', '', line).strip()
        if not text:
            continue
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate():
            continue
        found = installed_version(requirement.name)
        if found is None:
            unmet.append(f'{text} (not installed)')
        elif not requirement.specifier.contains(found, prereleases=True):
            unmet.append(f'{text} ({found} is installed)')
    return unmet


def installed_version(name: str) -> str | None:
    """Look a distribution up.

    Args:
        name: Its name.

    Returns:
        Its version, or that of the one that provides the same module; None if neither is there.
    """
    for candidate in (name, SAME_MODULE.get(name)):
        try:
            return version(candidate) if candidate else None
        except PackageNotFoundError:
            continue
    return None


def module_folder(name: str) -> Path | None:
    """Locate a package without importing it.

    Args:
        name: The package.

    Returns:
        Its folder; None if it is not installed.
    """
    specification = importlib.util.find_spec(name)
    return Path(specification.origin).parent if specification and specification.origin else None


def main() -> None:
    """Print as JSON what does not fit, and the full version of torch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--files', nargs='+', type=Path, help='requirements files')
    parser.add_argument('--also', nargs='+', default=[], help='further requirements')
    parser.add_argument('--package', type=Path, help='where mmdet_detnet must be')
    arguments = parser.parse_args()
    lines = [line for file in arguments.files for line in file.read_text().splitlines()]
    problems = unmet_requirements([*lines, *arguments.also])
    mmcv = module_folder('mmcv')
    if mmcv is None or not any(mmcv.glob('_ext.*')):
        problems.append('mmcv with compiled operators (not installed)')
    if module_folder('mmdet_detnet') != arguments.package:
        problems.append(f'mmdet_detnet from {arguments.package} (not installed)')
    print(json.dumps({'problems': problems, 'torch': installed_version('torch')}))


if __name__ == '__main__':
    main()
