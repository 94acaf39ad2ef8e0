"""README's first example runs as printed, on fewer images and for one epoch."""

import re
import shlex
from pathlib import Path

README = Path(__file__).resolve().parents[2] / 'README.md'


def test_first_example_trains_and_draws_its_detections(installation, tmp_path):
    section = README.read_text().split('\n## First example\n')[1].split('\n## ')[0]
    config, commands = re.findall(r'```(?:python|shell)\n(.*?)```', section, re.DOTALL)
    (tmp_path / 'my_config.py').write_text(config)
    draw, train, predict = (shlex.split(line) for line in commands.splitlines())
    draw += ['--num-train', '4', '--num-val', '2']
    train += ['--cfg-options', 'train_cfg.max_epochs=1']
    for program, *arguments in (draw, train, predict):
        installation.python(installation.folder / 'bin' / program, *arguments, cwd=tmp_path)
    assert len(list(tmp_path.glob('work_dirs/my_config/predictions/**/*.png'))) == 2
