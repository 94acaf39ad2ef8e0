"""A JSON file of detections that is valid after each image."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any


class PredictionFile:
    """Writes detections one by one; the file is valid whenever the program ends.

    Args:
        path: File to write; its folder is created.
        score_thr: Score threshold, written to the file.
    """

    def __init__(self, path: Path, score_thr: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.failed: list[str] = []
        self.is_empty = True
        self.file = path.open('w+', encoding='utf-8')
        self.file.write(f'{{"score_thr": {json.dumps(score_thr)}, "images": [\n')
        self.end = self.file.tell()
        self._close_brackets()

    def __enter__(self) -> 'PredictionFile':
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.file.close()

    def add(self, path: Path, detections: list[dict[str, Any]]) -> None:
        """Add an image.

        Args:
            path: The image.
            detections: Its detections, as plain values.
        """
        text = json.dumps({'path': str(path), 'detections': detections})
        self.file.seek(self.end)
        self.file.write(text if self.is_empty else f',\n{text}')
        self.is_empty = False
        self.end = self.file.tell()
        self._close_brackets()

    def add_failure(self, path: Path) -> None:
        """Note an image that could not be processed.

        Args:
            path: The image.
        """
        self.failed.append(str(path))
        self.file.seek(self.end)
        self._close_brackets()

    def _close_brackets(self) -> None:
        self.file.write(f'\n], "failed": {json.dumps(self.failed)}}}\n')
        self.file.truncate()
        self.file.flush()
