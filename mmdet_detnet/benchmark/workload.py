"""Plain data classes shared by all parts of the benchmark."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workload:
    """Input of every entry of a comparison.

    Attributes:
        height: Height of the images, in pixels.
        width: Width of the images, in pixels.
        batch: Number of images.
        candidates: Number of pairs of anchor and class per image above the score threshold of a
            one-stage detector. Random weights would give none, and NMS no work.
        survivors: Number of proposals per image with a foreground class above the score threshold
            of a two-stage detector. Random weights would give none.
        seed: Seed of weights, images and boxes.
    """

    height: int = 800
    width: int = 1333
    batch: int = 1
    candidates: int = 2000
    survivors: int = 100
    seed: int = 0

    def __str__(self) -> str:
        return f'{self.batch} x {self.height} x {self.width}'


@dataclass(frozen=True)
class Rounds:
    """Number of runs of each action.

    Attributes:
        timed: Number of timed runs.
        warm_up: Number of untimed runs before.
        training: Whether to measure training steps.
        split: Whether to split inference into parts.
        memory: Whether to measure peak memory.
        seconds: Time budget for all rounds, shared equally by inference, its split and training.
            When it is used up, actions with one timed round stop. None for no limit.
    """

    timed: int = 10
    warm_up: int = 2
    training: bool = True
    split: bool = True
    memory: bool = True
    seconds: float | None = None

    def actions(self, possible: Sequence[str]) -> dict[str, int]:
        """Return how often each action of an entry runs, including warm-up, in order.

        Args:
            possible: Actions among 'predict', 'parts' and 'train' that make sense for the entry.
        """
        numbers = {
            'predict': self.warm_up + self.timed,
            'parts': self.timed * self.split,  # follows inference and needs no warm-up
            'train': (self.warm_up + self.timed) * self.training,
        }
        return {
            action: number for action, number in numbers.items() if number and action in possible
        }


@dataclass(frozen=True)
class Settings:
    """Settings of an entry.

    Attributes:
        precision: Type of most operations: ``'fp32'``, ``'fp16'`` or ``'bf16'``.
        channels_last: Whether tensors are in the channels-last memory format.
        compile: Whether backbone, neck and head towers are compiled.
    """

    precision: str = 'fp32'
    channels_last: bool = False
    compile: bool = False

    @property
    def name(self) -> str:
        """All settings in one word, such as ``'bf16_nhwc_compiled'``."""
        layout = 'nhwc' if self.channels_last else 'nchw'
        return f'{self.precision}_{layout}_{"compiled" if self.compile else "eager"}'


PLAIN = Settings()


@dataclass(frozen=True)
class Entry:
    """One line of a comparison.

    Attributes:
        config: Path of a config, ``package::folder/file.py``, or a path among this package's;
            optionally followed by settings that override the file's:
            ``a.py model.backbone.depth=101``.
        kind: ``'detector'``, or its ``'backbone'`` or ``'roi_head'`` alone.
        settings: Its settings.
        checkpoint: Its weights; None for random weights shared with the reference.
    """

    config: str
    kind: str = 'detector'
    settings: Settings = PLAIN
    checkpoint: str | None = None

    @property
    def stem(self) -> str:
        """The config's file name without ``.py``."""
        return Path(split_name(self.config)[0].split('::')[-1]).stem

    @property
    def title(self) -> str:
        """The config's name, with settings that differ from MMDetection's."""
        # Drop the path of a key.
        marks = [
            setting[setting[: setting.find('=')].rfind('.') + 1 :]
            for setting in split_name(self.config)[1]
        ]
        if self.settings != PLAIN:
            marks.append(self.settings.name)
        return f'{self.stem} [{", ".join(marks)}]' if marks else self.stem


def split_name(name: str) -> tuple[str, list[str]]:
    """Split the name of a config into its path and its settings ``key=value``."""
    path, suffix, settings = name.partition('.py ')
    return path + suffix.strip(), settings.split()
