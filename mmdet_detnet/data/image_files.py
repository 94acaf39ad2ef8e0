"""Find the files of a dataset, and the images of its annotations."""

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from mmdet_detnet.data.options import TEMPLATES
from mmdet_detnet.data.problems import Problem
from mmdet_detnet.data.records import list_warnings
from mmdet_detnet.files import MARK, OutputFolder

SPLITS = ('train', 'val', 'test')
# Words for the splits in the names of folders and files, and in tables.
SPLIT_WORDS = {
    **dict.fromkeys(('train', 'training', 'trainset', 'trainval'), 'train'),
    **dict.fromkeys(('val', 'valid', 'validate', 'validation', 'valset', 'dev'), 'val'),
    **dict.fromkeys(('test', 'testing', 'testset'), 'test'),
}
# Pillow opens these, but they are no pictures.
NO_PICTURES = {'.pdf', '.mpg', '.mpeg'}
# Pictures that neither Pillow nor OpenCV opens.
UNSUPPORTED = {'.heic', '.heif', '.jxl', '.svg', '.dng', '.cr2', '.cr3', '.nef', '.arw', '.raw'}

# A progress bar, for what takes longer than a second.
show_progress = partial(tqdm, delay=1, leave=False)


def list_files(
    folder: Path, out: OutputFolder | None = None, skipped: list[Path] | None = None
) -> Iterator[Path]:
    """List the regular files below a folder, sorted, without hidden ones.

    Links to folders are followed, unless they lead to a folder that is listed anyway.

    Args:
        folder: A folder.
        out: Output folder, whose files are left out.
        skipped: Gets the other folders that hold results of our commands, which are left out, too.
    """
    root = folder.resolve()
    skipped = [] if skipped is None else skipped
    followed: set[Path] = set()

    def is_listed(path: Path) -> bool:
        if path.name[0] == '.' or (out and is_result(path, out)):
            return False
        if (path / MARK).exists():
            skipped.append(path)
            return False
        if not path.is_symlink():
            return True
        target = path.resolve()
        # A link to a folder above would never end.
        if target in followed or target.is_relative_to(root) or root.is_relative_to(target):
            return False
        followed.add(target)
        return True

    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in sorted(folders) if is_listed(Path(place, name))]
        for path in (Path(place, name) for name in sorted(names) if name[0] != '.'):
            # Reading anything but a file, such as a pipe, may never end.
            if path.is_file() and not (out and out.made(path)):
                yield path


def is_result(folder: Path, out: OutputFolder) -> bool:
    """Tell whether a folder is the output folder or that of a run in it."""
    place = folder.resolve()
    return place == out.folder or (place.parent == out.folder and place.name in TEMPLATES)


def name_split(path: Path) -> str:
    """Find the split that a path names, relative and without an image's own name.

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
        unsupported: Pictures that cannot be read, such as HEIC.
        skipped: Folders with results of our commands.
        used: Images with an annotation.
        missing: Names without an image.
        unread: Names of unsupported pictures.
    """

    folder: Path
    paths: list[Path]
    unsupported: list[Path] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    used: set[Path] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._splits: dict[Path, str] = {}
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        for path in self.paths:
            self._by_name[path.name].append(path)
            self._by_name[path.stem].append(path)

    @classmethod
    def below(cls, folder: Path, out: OutputFolder | None = None) -> 'ImageFiles':
        """Find the images below a folder, as :func:`list_files` does."""
        suffixes = {s for s, name in Image.registered_extensions().items() if name in Image.OPEN}
        suffixes -= NO_PICTURES
        skipped: list[Path] = []
        files = [*list_files(folder, out, skipped)]
        paths = [file for file in files if file.suffix.lower() in suffixes]
        unsupported = [file for file in files if file.suffix.lower() in UNSUPPORTED]
        return cls(folder, paths, unsupported, skipped)

    def __contains__(self, name: str) -> bool:
        """Tell whether an image has a name, with or without suffix."""
        return name in self._by_name

    def find(self, annotation: Path, *names: str) -> Path | None:
        """Find the image of an annotation.

        Args:
            annotation: The annotation file; the image may be next to it.
            *names: Paths or names, with or without suffix, possibly from another machine. The first
                one that leads to an image counts.

        Returns:
            The image; None if there is none, which is recorded.

        Raises:
            ValueError: If several images match.
        """
        for name in filter(None, names):
            candidates = self.candidates(annotation, name)
            if len(candidates) > 1:
                raise ValueError(
                    f'{annotation}: {name!r} may be {candidates[0]} or {candidates[1]}. Name the '
                    'folder of the images with --images, or give them different names.'
                )
            if candidates:
                self.used.add(candidates[0])
                return candidates[0]
        stems = {Path(name).stem for name in names}
        unread = [path for path in self.unsupported if path.stem in stems or path.name in names]
        if unread:
            self.unread.append(str(unread[0].relative_to(self.folder)))
        else:
            self.missing.append(f'{names[-1]} ({annotation.name})')
        return None

    def candidates(self, annotation: Path, name: str) -> list[Path]:
        """List the images that a name in an annotation file may mean."""
        name = name.replace('\\', '/')
        last = name.rpartition('/')[2]
        named = self._by_name.get(last) or self._by_name.get(Path(last).stem, [])
        if len(named) == 1:
            return named
        parts = Path(name).parts
        near = [annotation.parent.joinpath(*parts), self.folder.joinpath(*parts)]
        exact = [path for path in near if path in named]
        neighbors = [path for path in named if path.parent == annotation.parent]
        if exact or neighbors or not named:
            return exact[:1] or neighbors
        # The images whose folders have most names in common with the annotation's.
        wanted = {*parts[:-1], *annotation.parent.parts}
        common = [len(wanted.intersection(path.parent.parts)) for path in named]
        closest = [path for path, n in zip(named, common, strict=True) if n == max(common)]
        # Each split may number its images from 1: annotations/train.json, images/train/1.jpg.
        split = name_split(Path(annotation.name))
        return [path for path in closest if split and self.name_split(path) == split] or closest

    def name_split(self, image: Path) -> str:
        """Find the split that the folders of an image name, as :func:`name_split` does."""
        folder = image.parent
        if folder not in self._splits:
            self._splits[folder] = name_split(folder.relative_to(self.folder))
        return self._splits[folder]

    def problems(self, unused_are_background: bool = False) -> list[Problem]:
        """List images without annotations and annotations without images."""
        unused = [str(p.relative_to(self.folder)) for p in self.paths if p not in self.used]
        meaning = 'Used as background.' if unused_are_background else 'Skipped.'
        messages = {
            'folder-of-results': 'folders with results of mmdet_detnet. Skipped.',
            'image-not-found': 'annotations without an image. Skipped.',
            'image-not-supported': 'pictures in formats that neither Pillow nor OpenCV reads. '
            'Skipped. Convert them.',
            'image-not-annotated': f'images without an annotation. {meaning}',
        }
        skipped = [str(path) for path in self.skipped]
        culprits = (skipped, self.missing, self.unread, unused)
        return list_warnings(messages, dict(zip(messages, culprits, strict=True)))
