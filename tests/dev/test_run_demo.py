import pytest
from mmengine.config import Config
from run_demo import free_folder, run_demo, write_config


def test_new_run_gets_its_own_folder(tmp_path, capsys):
    assert free_folder(tmp_path / 'demo') == tmp_path / 'demo'
    assert capsys.readouterr().out == ''
    (tmp_path / 'demo').mkdir()
    (tmp_path / 'demo-2').mkdir()
    assert free_folder(tmp_path / 'demo') == tmp_path / 'demo-3'
    assert f'this one goes to {tmp_path}/demo-3' in capsys.readouterr().out


def test_config_has_the_data_root_and_the_epochs(tmp_path):
    write_config(tmp_path / 'run' / 'config.py', tmp_path / 'set', epochs=3)
    cfg = Config.fromfile(tmp_path / 'run' / 'config.py')
    for split in ('train', 'val', 'test'):
        assert cfg[f'{split}_dataloader'].dataset.data_root == f'{tmp_path}/set/'
    for split in ('val', 'test'):
        assert cfg[f'{split}_evaluator'].ann_file == f'{tmp_path}/set/annotations/val.json'
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler[-1].T_max == 3


def test_nothing_to_resume_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match='Nothing to resume'):
        run_demo(tmp_path / 'demo', tmp_path / 'set', resume=True)
    assert list(tmp_path.iterdir()) == []
