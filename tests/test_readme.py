"""What the README tells a user to write works as written."""

import re
from pathlib import Path

from mmdet.registry import MODELS
from mmengine.config import Config

README = Path(__file__).resolve().parent.parent / 'README.md'


def test_config_of_another_project_builds(tmp_path, monkeypatch):
    text = README.read_text()
    section = text[text.index('## Use it in your own config') :]
    code = re.search(r'```python\n(.*?)```', section, re.DOTALL).group(1)
    (tmp_path / 'other_project.py').write_text(code)
    monkeypatch.chdir(tmp_path)
    detector = MODELS.build(Config.fromfile('other_project.py').model)
    assert type(detector.backbone).__module__.startswith('mmdet_detnet')


def test_every_linked_file_exists():
    for document in [README, *README.parent.glob('configs/*/README.md')]:
        for target in re.findall(r'\]\((?!https?:)([^)#]+)\)', document.read_text()):
            assert (document.parent / target).exists(), f'{document.name}: {target}'
