"""What happened to each tensor when a checkpoint was loaded."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class WeightReport:
    """Keys of the network and the checkpoint, by what happened to them.

    Attributes:
        source: Where the weights come from.
        loaded: Keys of the network that were loaded.
        initialized: Keys of the network that keep their initialization, as expected.
        dropped: Keys of the checkpoint that are not used, as expected.
        missing: Keys of the network that should have been in the checkpoint.
        unexpected: Keys of the checkpoint that the network does not know.
    """

    source: str
    loaded: list[str] = field(default_factory=list)
    initialized: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f'weights from {self.source}']
        lines += self._summary('loaded', self.loaded)
        lines += self._summary('keep their initialization', self.initialized)
        lines += self._summary('in the file but not used', self.dropped)
        return '\n'.join(lines + self.surprises())

    def surprises(self) -> list[str]:
        """Describe missing and unexpected keys, each in full; empty if there are none."""
        return [
            f'  {title}: {", ".join(keys)}'
            for title, keys in (
                ('MISSING from the file', self.missing),
                ('UNEXPECTED in the file', self.unexpected),
            )
            if keys
        ]

    @staticmethod
    def _summary(title: str, keys: Iterable[str]) -> list[str]:
        parts = Counter(key.split('.')[0] for key in keys)
        counts = ', '.join(f'{part} ({count})' for part, count in parts.items())
        return [f'  {title}: {counts}'] if parts else []
