"""Progress of a comparison: a bar on a terminal, otherwise one line per measurement."""

import sys

from tqdm import tqdm


class Progress:
    """Progress on standard error.

    Args:
        total: Number of measurements.
        title: Title of the measurement.
    """

    def __init__(self, total: int, title: str) -> None:
        self.total, self.number = total, 0
        self.bar = tqdm(total=total, desc=title, disable=not sys.stderr.isatty())
        if self.bar.disable:
            print(f'{title}: {total} measurements', file=sys.stderr, flush=True)

    def advance(self, what: str, result: str) -> None:
        """Report a finished measurement.

        Args:
            what: Such as ``'inference, round 2, retinanet_r50_fpn_1x_coco'``.
            result: Such as ``'2.034 s'``.
        """
        self.number += 1
        if self.bar.disable:
            line = f'[{self.number}/{self.total}] {what}: {result}'
            print(line, file=sys.stderr, flush=True)
        self.bar.set_postfix_str(what, refresh=False)
        self.bar.update()

    def close(self) -> None:
        """End the progress bar."""
        self.bar.close()
