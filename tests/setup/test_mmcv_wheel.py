"""The cache of compiled mmcv wheels: its keys, its builds, and what is not trusted."""

import fcntl
import shutil
import subprocess
from dataclasses import replace

import pytest
from environment_setup import mmcv_build, mmcv_wheel
from environment_setup.checks import DiskFullError, SetupError
from environment_setup.mmcv_target import (
    Target,
    cache_key,
    cache_root,
    check_cuda_compiler,
    choose_target,
)

CPU = Target('2.13.0+cpu', python='cpython-311-x86_64-linux-gnu', machine='x86_64')
GPU_FACTS = {
    'torch': '2.13.0+cu130',
    'cuda': '13.0',
    'capabilities': ['9.0'],
    'cuda_home': '/opt/cuda',
}


def test_key_names_what_the_wheel_was_built_for():
    key = cache_key(CPU, {})
    assert key == 'mmcv2.1.0_cpython-311-x86_64-linux-gnu_x86_64_torch2.13.0+cpu_cpu'


@pytest.mark.parametrize(
    'change',
    [
        {'torch': '2.13.0+cu130'},
        {'torch': '2.12.0+cpu'},
        {'mmcv': '2.2.0'},
        {'python': 'cpython-312-x86_64-linux-gnu'},
        {'machine': 'aarch64'},
        {'cuda': '13.0'},
        {'cuda': '12.9'},
        {'capabilities': ('9.0',)},
    ],
)
def test_key_changes_with_each_ingredient(change):
    assert cache_key(replace(CPU, **change), {}) != cache_key(CPU, {})


@pytest.mark.parametrize('name', ['CFLAGS', 'CXXFLAGS', 'TORCH_CUDA_ARCH_LIST'])
def test_key_changes_with_the_compiler_flags(name):
    keys = {cache_key(CPU, environment) for environment in ({}, {name: '-O1'}, {name: '-O2'})}
    assert len(keys) == 3


def test_key_ignores_other_variables():
    assert cache_key(CPU, {'HOME': '/home/somebody'}) == cache_key(CPU, {})


def test_cache_follows_the_xdg_variable(tmp_path):
    root = cache_root({'XDG_CACHE_HOME': str(tmp_path)})
    assert root == tmp_path / 'mmdet_detnet' / 'wheels'


def test_cuda_is_built_where_torch_sees_a_gpu():
    target = choose_target(GPU_FACTS, {})
    assert (target.cuda, target.capabilities) == ('13.0', ('9.0',))


@pytest.mark.parametrize(
    'facts, environment',
    [
        (GPU_FACTS, {'MMCV_CPU': '1'}),
        ({**GPU_FACTS, 'capabilities': []}, {}),
        ({'torch': '2.13.0+cpu', 'cuda': None, 'capabilities': [], 'cuda_home': None}, {}),
    ],
)
def test_cpu_is_built_on_request_and_without_a_gpu(facts, environment):
    assert choose_target(facts, environment).cuda == ''


def test_cuda_can_be_forced_without_a_gpu():
    facts = {**GPU_FACTS, 'capabilities': []}
    assert choose_target(facts, {'FORCE_CUDA': '1'}).cuda == '13.0'


def test_cuda_cannot_be_forced_on_a_torch_without_it():
    facts = {'torch': '2.13.0+cpu', 'cuda': None, 'capabilities': [], 'cuda_home': None}
    with pytest.raises(SetupError, match=r'torch 2\.13\.0\+cpu has no CUDA'):
        choose_target(facts, {'FORCE_CUDA': '1'})


def test_missing_cuda_compiler_is_named_with_the_way_out(tmp_path):
    target = replace(CPU, cuda='13.0', cuda_home=str(tmp_path))
    with pytest.raises(SetupError, match=r'nvcc is missing.*MMCV_CPU=1 make setup'):
        check_cuda_compiler(target)


def test_present_cuda_compiler_is_accepted(tmp_path):
    (tmp_path / 'bin').mkdir()
    (tmp_path / 'bin' / 'nvcc').touch()
    check_cuda_compiler(replace(CPU, cuda='13.0', cuda_home=str(tmp_path)))
    check_cuda_compiler(CPU)


def test_cpu_build_hides_the_gpus_from_mmcv():
    environment = mmcv_build.build_environment(CPU)
    assert environment['MMCV_WITH_OPS'] == '1'
    assert (environment['FORCE_CUDA'], environment['CUDA_VISIBLE_DEVICES']) == ('0', '')


def test_cuda_build_is_forced():
    assert mmcv_build.build_environment(replace(CPU, cuda='13.0'))['FORCE_CUDA'] == '1'


def test_flags_of_the_user_win_over_ours(monkeypatch):
    monkeypatch.delenv('CFLAGS', raising=False)
    assert mmcv_build.build_environment(CPU)['CFLAGS'] == '-g0'
    monkeypatch.setenv('CFLAGS', '-g -O2')
    assert mmcv_build.build_environment(CPU)['CFLAGS'] == '-g0 -g -O2'


def test_number_of_jobs_is_the_users_if_set(monkeypatch):
    monkeypatch.setenv('MAX_JOBS', '7')
    assert mmcv_build.build_environment(CPU)['MAX_JOBS'] == '7'


def test_number_of_jobs_does_not_exceed_the_cores(monkeypatch):
    monkeypatch.setattr(mmcv_build.os, 'sched_getaffinity', lambda pid: {0})
    assert mmcv_build.job_count() == 1


def test_one_job_is_left_when_memory_is_short(monkeypatch):
    monkeypatch.setattr(mmcv_build, 'MEMORY_PER_JOB', 2**60)
    assert mmcv_build.job_count() == 1


@pytest.fixture
def wheel(tmp_path):
    path = tmp_path / 'mmcv-2.1.0-cp311-cp311-linux_x86_64.whl'
    path.write_bytes(b'not a wheel')
    return path


def test_working_cached_wheel_is_used(wheel, monkeypatch):
    monkeypatch.setattr(mmcv_wheel, 'install_and_try', lambda wheel, target: '')
    assert mmcv_wheel.install_cached(wheel.parent, CPU)
    assert wheel.exists()


def test_broken_cached_wheel_is_thrown_away_and_said(wheel, monkeypatch, capsys):
    problem = 'ImportError: undefined symbol'
    monkeypatch.setattr(mmcv_wheel, 'install_and_try', lambda wheel, target: problem)
    assert not mmcv_wheel.install_cached(wheel.parent, CPU)
    assert not wheel.exists()
    assert f'thrown away: {problem}' in capsys.readouterr().out


def test_full_disk_does_not_cost_the_cached_wheel(wheel, monkeypatch):
    def fail(*arguments):
        raise DiskFullError('full')

    monkeypatch.setattr(mmcv_wheel, 'pip', fail)
    with pytest.raises(DiskFullError):
        mmcv_wheel.install_cached(wheel.parent, CPU)
    assert wheel.exists()


def test_empty_cache_holds_no_wheel(tmp_path):
    (tmp_path / 'build' / 'wheel').mkdir(parents=True)
    (tmp_path / 'build' / 'wheel' / 'mmcv-2.1.0-half.whl').touch()
    assert not mmcv_wheel.install_cached(tmp_path, CPU)


def test_source_is_unpacked_over_what_an_interrupted_download_left(tmp_path, monkeypatch):
    packed = tmp_path / 'mmcv-2.1.0'
    packed.mkdir()
    (packed / 'setup.py').touch()
    build_folder = tmp_path / 'build'
    (build_folder / 'unpacked' / 'mmcv-2.1.0').mkdir(parents=True)

    def download(arguments, title, log_name):
        assert arguments[-1] == 'mmcv==2.1.0'
        archive = str(build_folder / 'mmcv-2.1.0')
        shutil.make_archive(archive, 'gztar', tmp_path, 'mmcv-2.1.0')

    monkeypatch.setattr(mmcv_build, 'pip', download)
    mmcv_build.fetch_source(build_folder)
    assert (build_folder / 'source' / 'setup.py').exists()


@pytest.fixture
def build(tmp_path, monkeypatch):
    """A build in an empty folder, with the download and the compilers replaced."""

    def fetch(folder):
        (folder / 'source').mkdir(parents=True)

    monkeypatch.setattr(mmcv_build, 'fetch_source', fetch)
    monkeypatch.setattr(mmcv_build, 'check_compiler', lambda: None)

    def run(compile_source):
        monkeypatch.setattr(mmcv_build, 'compile_source', compile_source)
        mmcv_build.build_wheel(tmp_path, CPU)

    return run


def compile_well(folder, log, target, lock):
    (folder / 'wheel').mkdir()
    (folder / 'wheel' / 'mmcv-2.1.0.whl').touch()


def compile_badly(folder, log, target, lock):
    raise SetupError('compiling mmcv failed')


def compile_interrupted(folder, log, target, lock):
    (folder / 'source' / 'nms.o').touch()
    raise KeyboardInterrupt


def test_finished_wheel_is_moved_to_the_cache(build, tmp_path):
    build(compile_well)
    assert mmcv_wheel.cached_wheel(tmp_path) == tmp_path / 'mmcv-2.1.0.whl'
    assert not (tmp_path / 'build').exists()


def test_interrupted_build_leaves_no_wheel_and_is_continued(build, tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        build(compile_interrupted)
    assert mmcv_wheel.cached_wheel(tmp_path) is None
    assert (tmp_path / 'build' / 'source' / 'nms.o').exists()
    build(compile_well)
    assert 'an earlier run compiled' in capsys.readouterr().out
    assert mmcv_wheel.cached_wheel(tmp_path)


def test_build_that_fails_twice_starts_from_nothing(build, tmp_path):
    with pytest.raises(SetupError):
        build(compile_badly)
    assert (tmp_path / 'build' / 'source').exists()
    with pytest.raises(SetupError):
        build(compile_badly)
    assert not (tmp_path / 'build').exists()


def test_second_build_at_the_same_time_is_refused(build, tmp_path):
    with open(tmp_path / 'lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(SetupError, match='another process compiles mmcv'):
            build(compile_well)
    build(compile_well)


def test_build_whose_set_up_was_killed_keeps_the_lock(tmp_path):
    with mmcv_build.only_one_build(tmp_path) as lock:
        orphan = subprocess.Popen(['sleep', '60'], pass_fds=(lock,))
    with pytest.raises(SetupError), mmcv_build.only_one_build(tmp_path):
        pass
    orphan.kill()
    orphan.wait()
    with mmcv_build.only_one_build(tmp_path):
        pass
