import cv2
import pytest

from mmdet_detnet.evaluation import contact_sheet
from mmdet_detnet.evaluation.contact_sheet import make_contact_sheet


def test_two_pairs_fill_one_row(tiny_detector, tmp_path):
    out = make_contact_sheet(
        *tiny_detector, tmp_path / 'sheets' / 'a.png', score_thr=0, device='cpu'
    )
    # The data set has two images, fewer than asked for: two pairs of 400-pixel tiles.
    assert cv2.imread(str(out)).shape == (400, 1600, 3)


def test_pairs_can_be_below_each_other(tiny_detector, tmp_path):
    out = make_contact_sheet(
        *tiny_detector, tmp_path / 'a.png', num_images=2, pairs_per_row=1, device='cpu'
    )
    assert cv2.imread(str(out)).shape == (800, 800, 3)


def test_bad_number_of_images_is_named(tiny_detector, tmp_path):
    with pytest.raises(ValueError, match='num_images=0'):
        make_contact_sheet(*tiny_detector, tmp_path / 'a.png', num_images=0)


def test_image_that_cannot_be_read_leaves_its_tiles_empty(
    tiny_detector, tmp_path, monkeypatch, capsys
):
    read = contact_sheet.inference_detector

    def read_all_but_the_first(model, path):
        if path.endswith('000000.png'):
            raise OSError('image file is truncated')
        return read(model, path)

    monkeypatch.setattr(contact_sheet, 'inference_detector', read_all_but_the_first)
    out = make_contact_sheet(*tiny_detector, tmp_path / 'a.png', score_thr=0, device='cpu')
    assert '000000.png: cannot be processed (image file is truncated)' in capsys.readouterr().err
    sheet = cv2.imread(str(out))
    # Captions that reach over the right edge move all tiles a little to the left.
    assert (sheet[100:, :700] == 255).all()
    assert (sheet[100:, 800:] != 255).any()
