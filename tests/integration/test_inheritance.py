"""Another project that builds on the installed package, in each way there is.

Its files are in ``other_project/``. Every config sets the number of classes, the data and the
schedule; what takes effect is read from the built Runner.
"""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# Its data, schedule and hooks are pieces of this package, not of mmdet.
BASE = 'custom/retinanet-conf_r50-slim_fpn_custom.py'
BY_PACKAGE = f"_base_ = 'mmdet_detnet::{BASE}'\n"
BY_EXPRESSION = f"_base_ = __import__('mmdet_detnet').config_path('{BASE}')\n"
BY_RELATIVE_PATH = f"_base_ = '../../mmdet_detnet/configs/{BASE}'\n"
# The first import, of docs/operators.md, provides mmcv's operators; it does not import the models.
MODULE_ALONE = """
_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
default_scope = 'mmengine'
custom_imports = dict(imports=['mmdet_detnet.checkpoints', 'other_project.models'])
_base_.model.bbox_head.type = 'mmdet_detnet.ConfidenceRetinaHead'
"""

HEAD = 'mmdet_detnet.models.retinanet_conf.ConfidenceRetinaHead'
DETNET = 'mmdet_detnet.models.detnet.DetNet'


@pytest.fixture(scope='module')
def project(make_project):
    """Put the other project next to a checkout of this one."""
    folder = make_project('folder')
    (folder / 'mmdet_detnet').symlink_to(ROOT)
    project = Path(shutil.copytree(HERE / 'other_project', folder / 'project'))
    # In its root, which is on the path of its scripts, besides what is installed.
    shutil.copy(HERE / 'describe_runners.py', project)
    (folder / 'data').rename(project / 'data')
    overrides = (project / 'configs' / 'overrides.py').read_text()
    for name, base in {
        'by_package': BY_PACKAGE,
        'by_expression': BY_EXPRESSION,
        'by_relative_path': BY_RELATIVE_PATH,
        'module_alone': MODULE_ALONE,
    }.items():
        (project / 'configs' / f'{name}.py').write_text(base + overrides)
    return project


@pytest.fixture(scope='module')
def output(installation, project):
    """Build every config's Runner in one process, which imports the package before the last."""
    names = ['module_alone', 'by_expression', 'new_style', 'by_relative_path']
    configs = [f'configs/{name}.py' for name in names]
    last = ['--import', 'mmdet_detnet', '--then', 'configs/by_package.py']
    return installation.python('describe_runners.py', *configs, *last, cwd=project)


@pytest.mark.parametrize(
    ('name', 'module'),
    [
        ('by_package', HEAD),
        ('by_expression', HEAD),
        ('by_relative_path', HEAD),
        ('module_alone', HEAD),
        ('new_style', DETNET),
        ('new_style', HEAD),
    ],
)
def test_what_the_project_overrides_takes_effect(output, name, module):
    runner = json.loads(output.splitlines()[-1])[f'configs/{name}.py']
    assert 'error' not in runner
    assert module in runner.pop('modules')
    assert runner == {
        'num_classes': 2,
        'classes': ['circle', 'triangle'],
        'num_images': 2,
        'epochs': 7,
        'lr': 0.25,
    }


def test_every_registry_knows_the_scope_of_inherited_dicts(output):
    assert 'Failed to search registry with scope "mmdet_detnet"' not in output


def test_package_prefix_in_mmdets_own_script_is_refused(installation, project):
    script = Path(find_spec('mmdet').origin).parent / '.mim' / 'tools' / 'train.py'
    config = project / 'configs' / 'by_package.py'
    output = installation.python(script, config, cwd=project, expect_failure=True)
    assert 'mmengine does not support to load mmdet_detnet config.' in output
