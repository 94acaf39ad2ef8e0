"""What is measured, and on what: plain data, shared by all parts of the benchmark."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workload:
    """What every entry of a comparison is given.

    Attributes:
        height: Height of the images, in pixels.
        width: Width of the images, in pixels.
        batch: Number of images.
        candidates: How many pairs of anchor and class exceed the score threshold in each image
            of a one-stage detector. Random weights would give none, and no work to NMS.
        survivors: How many proposals of each image have a foreground class whose score exceeds
            the threshold in a two-stage detector. Random weights would give none.
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
    """How often each action runs.

    Attributes:
        timed: How often it is timed.
        warm_up: How often it runs before.
        training: Whether training steps are measured too.
        split: Whether inference is split into its parts too.
        memory: Whether the peak memory is measured too.
        seconds: Time for all rounds, shared equally by inference, its split and training. Once it
            is over, what has one timed round gets no more. None for all the rounds.
    """

    timed: int = 10
    warm_up: int = 2
    training: bool = True
    split: bool = True
    memory: bool = True
    seconds: float | None = None

    def actions(self, possible: Sequence[str]) -> dict[str, int]:
        """Tell how often each action of an entry runs, warm-up included, in order.

        Args:
            possible: Those that make sense for the entry, of 'predict', 'parts' and 'train'.
        """
        numbers = {
            'predict': self.warm_up + self.timed,
            'parts': self.timed * self.split,  # it follows inference, and needs no warm-up
            'train': (self.warm_up + self.timed) * self.training,
        }
        return {
            action: number for action, number in numbers.items() if number and action in possible
        }


@dataclass(frozen=True)
class Settings:
    """How an entry runs.

    Attributes:
        precision: ``'fp32'``, or the type that most operations are cast to: ``'fp16'``, ``'bf16'``.
        channels_last: Whether the channels of a tensor lie next to each other in memory.
        compile: Whether backbone, neck and towers of the heads are compiled.
    """

    precision: str = 'fp32'
    channels_last: bool = False
    compile: bool = False

    @property
    def name(self) -> str:
        """All of it in one word, such as ``'bf16_nhwc_compiled'``."""
        layout = 'nhwc' if self.channels_last else 'nchw'
        return f'{self.precision}_{layout}_{"compiled" if self.compile else "eager"}'


PLAIN = Settings()


@dataclass(frozen=True)
class Entry:
    """One line of a comparison.

    Attributes:
        config: Path of a config, ``package::folder/file.py``, or a path among this package's; after
            spaces, settings that replace those of the file: ``a.py model.backbone.depth=101``.
        kind: ``'detector'``, or its ``'backbone'`` or ``'roi_head'`` alone.
        settings: How it runs.
        checkpoint: Its weights; without it they are random and shared with the reference.
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
        """The config's name, marked where it runs otherwise than MMDetection would run it."""
        # Without the path of a key.
        marks = [
            setting[setting[: setting.find('=')].rfind('.') + 1 :]
            for setting in split_name(self.config)[1]
        ]
        if self.settings != PLAIN:
            marks.append(self.settings.name)
        return f'{self.stem} [{", ".join(marks)}]' if marks else self.stem


def split_name(name: str) -> tuple[str, list[str]]:
    """Split the name of a config into its path and the settings ``key=value`` after it."""
    path, suffix, settings = name.partition('.py ')
    return path + suffix.strip(), settings.split()
