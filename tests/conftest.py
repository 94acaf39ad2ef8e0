"""Options, the order of the tests, and which process runs them."""

import gc

import pytest

# First, since it provides mmcv's operators where mmcv has none.
import mmdet_detnet  # noqa: F401

# What takes longest comes first, so that no process waits for another at the end.
LONGEST = (
    'wheel',
    'fork server',
    'onnx',
    'test_tutorial',
    'configs',
    'test_accelerate_compiled',
)


def pytest_addoption(parser):
    """Let the conformance tests take every model family of mmdet, instead of a slice."""
    parser.addoption('--all-configs', action='store_true', help='conformance with all of mmdet')


def pytest_configure(config):
    """Load the fixtures, and mmdet with them, but not in a process that runs no tests."""
    if hasattr(config, 'workerinput') or config.getoption('dist', 'no') == 'no':
        config.pluginmanager.import_plugin('shared_fixtures')


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Skip the tests marked `cuda` where there is no CUDA device; keep tests together for xdist.

    A file's tests are run by one process, and so are those of one `xdist_group` and those of the
    wheel: what they share is made once.
    """
    import torch

    no_device = pytest.mark.skip(reason='needs a CUDA device')
    for item in items:
        if 'cuda' in item.keywords and not torch.cuda.is_available():
            item.add_marker(no_device)
        if 'wheel' in item.fixturenames:
            item.add_marker(pytest.mark.xdist_group('wheel'))
        elif item.get_closest_marker('xdist_group') is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    items.sort(key=find_rank)


def pytest_collection_finish():
    """Collect no garbage among what is imported: mmengine tries for each dataset, for 0.2 s."""
    gc.freeze()


def find_rank(item):
    """Say how early a test runs."""
    group = item.get_closest_marker('xdist_group').args[0]
    return LONGEST.index(group) if group in LONGEST else len(LONGEST)
