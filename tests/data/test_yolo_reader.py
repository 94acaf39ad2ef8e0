"""YOLO's text files: names of classes, splits, and rows of every length."""

import pytest
from folders import (
    CAT,
    boxes,
    problems,
    read,
    splits,
    write_image,
    write_text,
    write_yolo,
    yolo_row,
)

BOX = '0.5 0.5 0.4 0.4'
CORNERS = '0.1 0.1 0.3 0.1 0.3 0.5 0.1 0.5'


def write_rows(folder, *rows, yaml='names: [cat]\n', encoding='utf-8'):
    """Write an image of 100 x 80 pixels with rows."""
    write_image(folder / 'images/a.png')
    write_text(folder / 'labels/a.txt', '\n'.join(rows), encoding)
    write_text(folder / 'data.yaml', yaml)
    return folder


def test_lists_are_splits_wherever_they_were_written(tmp_path, monkeypatch):
    write_yolo(tmp_path / 'data')
    write_text(tmp_path / 'data/one.txt', './images/b.png\n')
    write_text(tmp_path / 'data/two.txt', '/content/data/images/a.png\n')
    text = 'train: one.txt\nval: two.txt\nnames: [cat, red panda]'
    write_text(tmp_path / 'data/data.yaml', text)
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path / 'data', 'data'):
        folder = type(tmp_path)(folder)
        assert splits(read(folder)) == {'a': 'val', 'b': 'train'}


def test_folders_in_the_yaml_file_are_splits_of_a_relative_path(tmp_path, monkeypatch):
    write_yolo(tmp_path / 'data')
    (tmp_path / 'data/images/b.png').rename(tmp_path / 'data/b.png')
    write_text(tmp_path / 'data/data.yaml', 'train: images\nval: .\nnames: [cat, red panda]')
    monkeypatch.chdir(tmp_path)
    assert splits(read(type(tmp_path)('data'))) == {'a': 'train', 'b': 'val'}


def test_one_folder_for_two_splits_is_split_again(tmp_path):
    write_yolo(tmp_path)
    write_text(tmp_path / 'data.yaml', 'train: images\nval: images\nnames: [cat, red panda]')
    labeled = read(tmp_path)
    assert problems(labeled)['doubled-split'].examples == ['images']
    assert {image.split for image in labeled.images} == {''}


def test_each_file_is_read_with_the_nearest_names(tmp_path):
    for folder, names in (('one', '[cat, dog]'), ('two', '[dog, cat]')):
        write_image(tmp_path / folder / f'train/images/{folder}.png')
        write_text(tmp_path / folder / f'train/labels/{folder}.txt', f'0 {BOX}')
        write_text(tmp_path / folder / 'data.yaml', f'names: {names}')
    labeled = read(tmp_path)
    assert {name: each[0][0] for name, each in boxes(labeled).items()} == {
        'one.png': 'cat',
        'two.png': 'dog',
    }
    assert labeled.all_classes() == ['cat', 'dog']


def test_nearer_names_are_used_and_others_said(tmp_path):
    write_rows(tmp_path, f'1 {BOX}', yaml='names: [cat, dog]')
    # A line without a name is a number without a name.
    write_text(tmp_path / 'labels/classes.txt', '\nowl\n')
    labeled = read(tmp_path)
    assert boxes(labeled)['a.png'][0][0] == 'owl'
    assert 'labels/classes.txt)' in problems(labeled)['other-class-names'].examples[0]


def test_different_names_in_one_folder_are_an_error(tmp_path):
    write_rows(tmp_path, f'0 {BOX}')
    write_text(tmp_path / 'obj.names', 'dog\n')
    with pytest.raises(ValueError, match=r'data\.yaml and .*obj\.names name the classes diff'):
        read(tmp_path)


def test_no_names_are_an_error(tmp_path):
    write_yolo(tmp_path)
    (tmp_path / 'data.yaml').unlink()
    with pytest.raises(ValueError, match='no names of classes'):
        read(tmp_path)


def test_polygon_is_box_and_mask(tmp_path):
    write_rows(tmp_path, f'0 {CORNERS}', '0 0.1 0.1 0.3 0.1 0.3 0.5')
    labeled = read(tmp_path)
    box = labeled.images[0].boxes[0]
    assert box.box == pytest.approx((10, 8, 20, 32))
    assert box.segmentation == [pytest.approx([10, 8, 30, 8, 30, 40, 10, 40])]
    assert box.area == pytest.approx(640)
    assert not labeled.problems


def test_rotated_boxes_are_enclosed_and_said(tmp_path):
    labeled = read(write_rows(tmp_path, '0 0.5 0.25 0.7 0.5 0.5 0.75 0.3 0.5'))
    assert boxes(labeled)['a.png'] == [('cat', (30, 20, 40, 40))]
    assert problems(labeled)['rotated-box'].count == 1


def test_keypoints_follow_the_box(tmp_path):
    keypoints = ' 0.35 0.35 2 0.65 0.35 2 0.65 0.65 2 0.35 0.65 2'
    yaml = 'kpt_shape: [4, 3]\nnames: [cat]'
    labeled = read(write_rows(tmp_path, f'0 {BOX}{keypoints}', f'0 {BOX}', yaml=yaml))
    assert boxes(labeled)['a.png'] == [('cat', (30, 24, 40, 32))] * 2


WRONG = (
    f'2 {BOX}',
    f'-1 {BOX}',
    f'0.0 {BOX}',
    '0,0.5,0.5,0.3,0.3',
    '0 0.5 0.5 0.3',
    f'0 {BOX} 0.9',
    '0 0.5 0.5 0.1 x',
    '0 0.5 0.5 0.1 nan',
    '0 320 240 50 50',
    # Keypoints that no kpt_shape tells of.
    f'0 {BOX} 0.35 0.35 2 0.65 0.35 2 0.65 0.65 2 0.35 0.65 2',
)


@pytest.mark.parametrize('row', WRONG)
@pytest.mark.parametrize('line', [1, 2, 7])
def test_wrong_row_is_an_error_with_file_and_line(row, line, tmp_path):
    write_yolo(tmp_path)
    rows = [yolo_row(0, CAT[1]).strip()] * 7
    rows[line - 1] = row
    write_text(tmp_path / 'labels/b.txt', '\n'.join(rows))
    with pytest.raises(ValueError, match=rf'b\.txt, line {line}: .* must be the number of a class'):
        read(tmp_path)


def test_wrong_rows_of_several_files_are_listed_and_counted(tmp_path):
    for number in range(7):
        write_image(tmp_path / f'images/{number}.png')
        rows = f'0 {BOX}\n' if number == 2 else f'0 {BOX}\n8 {BOX}\n9 {BOX}\n'
        write_text(tmp_path / f'labels/{number}.txt', rows)
    write_text(tmp_path / 'data.yaml', 'names: [cat]')
    with pytest.raises(ValueError) as error:
        read(tmp_path)
    *lines, last = str(error.value).splitlines()
    starts = [line.partition(': ')[0].rpartition('/')[2] for line in lines]
    assert starts == [f'{number}.txt, line 2' for number in (0, 1, 3, 4, 5)]
    assert last == 'In all, 12 rows of 6 files are wrong.'


@pytest.mark.parametrize('length', [3, 8, 15])
def test_row_that_does_not_fit_kpt_shape_is_an_error(length, tmp_path):
    yaml = 'kpt_shape: [4, 3]\nnames: [cat]'
    write_rows(tmp_path, f'0 {BOX}', '0' + ' 0.5' * length, yaml=yaml)
    with pytest.raises(ValueError, match=rf'a\.txt, line 2: .*{length} numbers, not 16'):
        read(tmp_path)


def test_byte_order_mark_is_no_part_of_the_class(tmp_path):
    labeled = read(write_rows(tmp_path, f'0 {BOX}', encoding='utf-8-sig'))
    assert boxes(labeled)['a.png'] == [('cat', (30, 24, 40, 32))]


def test_two_files_of_one_image_are_an_error(tmp_path):
    write_rows(tmp_path, f'0 {BOX}')
    write_text(tmp_path / 'labels_old/a.txt', f'0 {BOX}')
    with pytest.raises(ValueError, match=r'a\.png has two files of annotations'):
        read(tmp_path)


def test_test_images_without_text_files_are_no_background(tmp_path):
    for split in ('train', 'val', 'test'):
        write_image(tmp_path / f'images/{split}/{split}.png')
        write_text(tmp_path / f'labels/{split}/{split}.txt', f'0 {BOX}')
    write_text(tmp_path / 'data.yaml', 'names: [cat]')
    (tmp_path / 'labels/test/test.txt').unlink()
    labeled = read(tmp_path)
    assert splits(labeled) == {'train': 'train', 'val': 'val'}
    assert problems(labeled)['image-not-labeled'].count == 1
