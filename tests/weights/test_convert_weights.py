"""The command line of the converter."""

import sys
from collections import OrderedDict

import pytest
import torch
from convert_weights import main
from mmdet.models import ResNet


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command; return its exit status and what it printed."""

    def run_command(*arguments):
        monkeypatch.setattr(sys, 'argv', ['convert_weights.py', *map(str, arguments)])
        try:
            main()
        except SystemExit as stop:
            # Python prints a message and exits with 1.
            return (1, stop.code) if isinstance(stop.code, str) else (stop.code, '')
        return 0, capsys.readouterr().out

    return run_command


@pytest.fixture(scope='module')
def resnet_file(tmp_path_factory):
    """Save a ResNet-18 as mmpretrain does."""
    path = tmp_path_factory.mktemp('weights') / 'resnet18.pth'
    state = {f'backbone.{key}': value for key, value in ResNet(18).state_dict().items()}
    torch.save(OrderedDict(state), path)
    return path


def test_converted_file_holds_nothing_but_the_weights(run, resnet_file, tmp_path):
    target = tmp_path / 'folder' / 'converted.pth'
    status, output = run(resnet_file, target)
    assert status == 0
    assert output.endswith(f'written to {target}\n')
    content = torch.load(target, weights_only=True)
    assert content['meta'] == {'source': 'a ResNet as mmpretrain names its layers'}
    assert content['state_dict'].keys() == ResNet(18).state_dict().keys()


def test_dry_run_needs_no_target(run, resnet_file):
    status, output = run(resnet_file, '--dry-run')
    assert status == 0
    assert 'loaded: conv1 (1), bn1 (5), layer1 (24)' in output
    assert output.endswith('nothing written\n')
    assert [path.name for path in resnet_file.parent.iterdir()] == ['resnet18.pth']


def test_list_has_both_names_and_shapes(run, resnet_file):
    _, output = run(resnet_file, '--dry-run', '--list')
    assert (
        'backbone.conv1.weight (64, 3, 7, 7) -> conv1.weight (64, 3, 7, 7)' in output.splitlines()
    )


def test_named_kind_is_not_guessed(run, resnet_file):
    status, message = run(resnet_file, '--dry-run', '--source', 'detnet_pytorch')
    assert status == 1
    assert 'this is not the detnet59.pth' in message
    assert message.count('\n') == 0


def test_unknown_kind_lists_what_is_known(run, tmp_path):
    torch.save({'decoder.weight': torch.zeros(1)}, tmp_path / 'other.pth')
    status, message = run(tmp_path / 'other.pth', '--dry-run')
    assert status == 1
    assert 'detnet_pytorch, doubleheadsrcnn, mmpretrain, timm' in message
    assert 'unknown: decoder.weight' in message


@pytest.mark.parametrize(
    ('odd', 'words'),
    [
        (torch.zeros(1).expand(1000, 512), 'odd.pth has tensors of'),
        (torch.eye(3).to_sparse(), 'that are sparse, quantized or empty: head.fc.weight'),
        (torch.eye(3, device='meta'), 'that are sparse, quantized or empty: head.fc.weight'),
    ],
)
def test_tensors_without_values_of_their_own_are_refused(run, resnet_file, tmp_path, odd, words):
    torch.save({**torch.load(resnet_file), 'head.fc.weight': odd}, tmp_path / 'odd.pth')
    status, message = run(tmp_path / 'odd.pth', tmp_path / 'large.pth')
    assert status == 1
    assert words in message
    assert not (tmp_path / 'large.pth').exists()


def test_target_that_cannot_be_written_is_named(run, resnet_file):
    status, message = run(resnet_file, '/proc/converted.pth')
    assert status == 1
    assert '/proc/converted.pth' in message


def test_target_or_dry_run_has_to_be_given(run, resnet_file):
    assert run(resnet_file) == (2, '')
