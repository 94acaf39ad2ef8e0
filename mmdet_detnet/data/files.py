"""Find the files of a data set, and the images of its annotations."""

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from mmdet_detnet.data.problems import Problem, problem_of

SPLITS = ('train', 'val', 'test')
# Names of the splits in folders and annotation files.
SPLIT_WORDS = {
    **dict.fromkeys(('train', 'training', 'trainset'), 'train'),
    **dict.fromkeys(('val', 'valid', 'validation', 'dev'), 'val'),
    **dict.fromkeys(('test', 'testing', 'testset'), 'test'),
}


def list_files(folder: Path, ignored: Path | None = None) -> Iterator[Path]:
    """List the regular files below a folder, sorted, without hidden ones.

    Args:
        folder: A folder.
        ignored: A folder to skip.

    Yields:
        The files.
    """
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if name[0] != '.' and (ignored is None or Path(place, name).resolve() != ignored)
        )
        paths = (Path(place, name) for name in sorted(names) if name[0] != '.')
        # Reading anything else, such as a pipe, may never end.
        yield from filter(os.path.isfile, paths)


def name_split(path: Path) -> str:
    """Find the split of a path from its words.

    Args:
        path: A relative path; for an image, that of its folder.

    Returns:
        ``'train'``, ``'val'``, ``'test'`` or ``''``. The innermost folder decides.
    """
    for part in reversed(path.parts):
        for word in re.findall('[a-z]+', part.lower()):
            if word in SPLIT_WORDS:
                return SPLIT_WORDS[word]
    return ''


@dataclass
class ImageFiles:
    """The images below a folder, found by their names in annotations.

    Attributes:
        folder: The folder.
        paths: All images in it.
        used: Images with an annotation.
        missing: Names without an image.
    """

    folder: Path
    paths: list[Path]
    used: set[Path] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        for path in self.paths:
            self._by_name[path.name].append(path)
            self._by_name[path.stem].append(path)

    @classmethod
    def below(cls, folder: Path, ignored: Path | None = None) -> 'ImageFiles':
        """Find the images below a folder.

        Args:
            folder: The folder.
            ignored: A folder to skip.

        Returns:
            The images.
        """
        suffixes = {s for s, name in Image.registered_extensions().items() if name in Image.OPEN}
        suffixes -= {'.pdf', '.mpg', '.mpeg'}
        files = list_files(folder, ignored)
        return cls(folder, [file for file in files if file.suffix.lower() in suffixes])

    def find(self, annotation: Path, *names: str) -> Path | None:
        """Find the image of an annotation.

        Args:
            annotation: The annotation file; the image may be beside it.
            *names: Paths or names, with or without suffix, possibly from another machine. The first
                one that leads to an image counts.

        Returns:
            The image; None if there is none, which is recorded.

        Raises:
            ValueError: If several images match.
        """
        for name in filter(None, names):
            candidates = self._candidates(annotation, name)
            if len(candidates) > 1:
                raise ValueError(
                    f'{annotation}: {name!r} may be {candidates[0]} or {candidates[1]}. Name the '
                    'folder of the images with --images, or give them different names.'
                )
            if candidates:
                self.used.add(candidates[0])
                return candidates[0]
        self.missing.append(f'{names[-1]} ({annotation.name})')
        return None

    def _candidates(self, annotation: Path, name: str) -> list[Path]:
        parts = Path(name.replace('\\', '/')).parts
        last = parts[-1] if parts else ''
        named = self._by_name.get(last) or self._by_name.get(Path(last).stem, [])
        near = [annotation.parent.joinpath(*parts), self.folder.joinpath(*parts)]
        exact = [path for path in near if path in named]
        beside = [path for path in named if path.parent == annotation.parent]
        return exact[:1] or beside or self._longest_match(named, parts, annotation)

    @staticmethod
    def _longest_match(
        candidates: list[Path], parts: tuple[str, ...], annotation: Path
    ) -> list[Path]:
        """Keep the images whose folders share most names with the annotation's."""
        if len(candidates) < 2:
            return candidates
        wanted = {*parts[:-1], *annotation.parent.parts}
        common = [len(wanted.intersection(path.parent.parts)) for path in candidates]
        return [path for path, n in zip(candidates, common, strict=True) if n == max(common)]

    def name_split(self, image: Path) -> str:
        """Find the split of an image from its folders, as :func:`name_split` does."""
        return name_split(image.relative_to(self.folder).parent)

    def problems(self, unused_are_background: bool = False) -> list[Problem]:
        """List images without annotations and annotations without images.

        Args:
            unused_are_background: Whether images without annotation are background.

        Returns:
            Problems.
        """
        unused = [str(p.relative_to(self.folder)) for p in self.paths if p not in self.used]
        meaning = 'Used as background.' if unused_are_background else 'Skipped.'
        return [
            *problem_of(
                'image-not-found',
                'annotations without an image. Skipped.',
                self.missing,
                is_warning=True,
            ),
            *problem_of(
                'image-not-annotated',
                f'images without an annotation. {meaning}',
                unused,
                is_warning=True,
            ),
        ]
