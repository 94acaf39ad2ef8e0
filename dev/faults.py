"""The deliberate faults of dev/mutants/*.yml."""

from dataclasses import dataclass
from pathlib import Path

import yaml

FAULTS = Path(__file__).with_name('mutants')


@dataclass(frozen=True)
class Fault:
    """One mistake.

    Attributes:
        name: Description of the mistake.
        file: Path of the file, relative to the root of the tree.
        old: String that occurs once in the file.
        new: Its replacement.
        tests: Pytest ids of tests that must all fail; of a test with parameters, at least one case.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def make_text(self, root: Path) -> str:
        """Apply the fault to the text of the file.

        Args:
            root: Root of the tree.

        Returns:
            The changed text.

        Raises:
            ValueError: If the string does not occur exactly once.
        """
        path = root / self.file
        text = path.read_text() if path.is_file() else ''
        if (count := text.count(self.old)) != 1:
            raise ValueError(
                f'{self.name}: {self.file} has {self.old!r} {count} times instead of once; bring '
                'the fault up to date.'
            )
        return text.replace(self.old, self.new)


def read_faults(folder: Path = FAULTS) -> list[Fault]:
    """Read the faults.

    Args:
        folder: Folder of YAML files with lists of faults, each with the attributes of
            :class:`Fault`.

    Returns:
        The faults of all files.

    Raises:
        ValueError: If a fault lacks an attribute or has an unknown one.
    """
    faults = []
    for file in sorted(folder.glob('*.yml')):
        for entry in yaml.safe_load(file.read_text()):
            try:
                faults.append(Fault(**{**entry, 'tests': tuple(entry['tests'])}))
            except (KeyError, TypeError) as error:
                raise ValueError(f'{file.name}: {entry} is not a fault: {error}.') from error
    return faults
