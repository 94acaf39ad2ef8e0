"""What happened to every tensor of a checkpoint and of the network that took it."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class WeightReport:
    """Fate of every tensor, by key.

    Attributes:
        source: Where the weights come from.
        loaded: Keys of the network that got a value.
        initialized: Keys of the network that keep their initialization, as expected.
        dropped: Keys of the checkpoint that are not used, as expected.
        missing: Keys of the network that should have been in the checkpoint.
        unexpected: Keys of the checkpoint that nothing here knows.
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
        lines += self._summary('left to their initialization', self.initialized)
        lines += self._summary('in the file but not used', self.dropped)
        return '\n'.join(lines + self.surprises())

    def surprises(self) -> list[str]:
        """List what nobody expected, every key in full; empty if all went as it should."""
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
