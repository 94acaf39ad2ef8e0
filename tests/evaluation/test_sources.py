"""What `predict` reads: each input is found once, and what cannot be read is named."""

import contextlib
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from mmdet_detnet.data.images import read_image
from mmdet_detnet.evaluation.sources import find_sources, read_frames


@pytest.fixture
def photos(shapes_root, tmp_path):
    folder = tmp_path / 'photos'
    folder.mkdir()
    shutil.copy(shapes_root / 'val/000000.png', folder / 'good.png')
    return folder


def write_video(path, num_frames=5, codec='mp4v'):
    """Write frames, each brighter than the last by 40 grey levels, ten a second."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 10, (64, 48))
    for number in range(num_frames):
        writer.write(np.full((48, 64, 3), 40 * number % 256, np.uint8))
    writer.release()
    return path


def names(*inputs):
    return [(source.kind, source.name) for source in find_sources(inputs)]


def test_every_kind_of_input(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (photos / 'movie.MP4').touch()
    (photos / 'notes.md').touch()
    (photos / 'list.txt').write_text('good.png\n\n../other.png\nrtsp://host/1\n')
    found = [('image', 'photos/good.png'), ('video', 'photos/movie.MP4')]
    assert names('photos') == names('photos/*.[pM]*', 'photos/good.png') == found
    listed = [found[0], ('image', 'photos/../other.png'), ('stream', 'rtsp://host/1')]
    assert names('photos/list.txt') == listed
    assert names(0, '12') == [('camera', 'camera 0'), ('camera', 'camera 12')]


def test_password_of_a_stream_is_not_shown():
    (source,) = find_sources(['rtsp://me:secret@host/1'])
    assert (source.name, source.target) == ('rtsp://host/1', 'rtsp://me:secret@host/1')


@pytest.mark.parametrize('pattern', ['empty', '*.jpg', 'list.txt'])
def test_input_without_an_image_is_an_error(pattern, tmp_path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'list.txt').write_text('\n')
    with pytest.raises(FileNotFoundError, match='image or video'):
        find_sources([tmp_path / pattern])


def test_list_that_is_no_text(tmp_path):
    (tmp_path / 'list.txt').write_bytes(b'\xff\xfe\x00')
    with pytest.raises(ValueError, match=r'list\.txt must be a list of files'):
        find_sources([tmp_path / 'list.txt'])


# An image for Ghostscript, which Pillow starts to draw it, whatever the file's name.
POSTSCRIPT = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n'


@pytest.fixture
def ghostscript(tmp_path, monkeypatch):
    """Put a program of that name in front of all others; return the file that it writes."""
    program, marker = tmp_path / 'bin/gs', tmp_path / 'it ran'
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\ntouch "{marker}"\n')
    program.chmod(0o755)
    monkeypatch.setenv('PATH', f'{program.parent}:/usr/bin:/bin')
    monkeypatch.setattr('PIL.EpsImagePlugin.gs_binary', None)
    return marker


def read_problem(path):
    (frame,) = read_frames(find_sources([path]))
    assert frame.image is None
    return frame.problem


@pytest.mark.parametrize('read', [read_problem, lambda path: read_image(path).error])
def test_no_program_is_started_to_draw_an_image(read, photos, ghostscript):
    file = photos / 'hostile.png'
    file.write_bytes(POSTSCRIPT)
    assert 'cannot identify image file' in read(file)
    assert not ghostscript.exists()
    with contextlib.suppress(Exception), Image.open(file) as opened:
        opened.load()
    assert ghostscript.exists()


def test_truncated_and_missing_image(photos):
    (photos / 'broken.png').write_bytes((photos / 'good.png').read_bytes()[:2000])
    assert 'cannot be read as an image' in read_problem(photos / 'broken.png')
    assert read_problem(photos / 'absent.png') == 'no such file'


def test_every_second_frame(tmp_path):
    sources = find_sources([write_video(tmp_path / 'a.mp4')])
    frames = list(read_frames(sources, every=2))
    assert [frame.number for frame in frames] == [0, 2, 4]
    assert [round(float(frame.image.mean()), -1) for frame in frames] == [0, 80, 160]
    assert {frame.rate for frame in frames} == {10}


def test_truncated_video_gives_its_frames_and_says_so(tmp_path):
    whole = write_video(tmp_path / 'a.avi', 30, 'MJPG').read_bytes()
    (tmp_path / 'a.avi').write_bytes(whole[: len(whole) * 2 // 3])
    *frames, last = read_frames(find_sources([tmp_path / 'a.avi']))
    assert [frame.number for frame in frames] == list(range(len(frames)))
    assert 0 < len(frames) < 30
    words = 'frames can be read: it is damaged, or trimmed'
    assert last.problem == f'only {len(frames)} of 30 {words}'


@pytest.mark.parametrize(
    ('name', 'problem'),
    [
        ('text.mp4', 'cannot be opened as a video'),
        ('absent.mp4', 'no such file'),
        ('99', 'cannot be opened as a camera'),
        ('rtsp://127.0.0.1:1/x', 'cannot be opened as a stream'),
    ],
)
def test_what_cannot_be_opened_is_named(name, problem, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'text.mp4').write_text('text')
    assert read_problem(name) == problem
    assert capfd.readouterr() == ('', '')  # nothing of OpenCV
