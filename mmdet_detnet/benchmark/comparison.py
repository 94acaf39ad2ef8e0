"""Compare several entries with one workload; the last is the reference."""

from collections.abc import Callable, Sequence

import torch
from mmengine.device import get_device

from .building import load_with_settings
from .counts import build_without_weights, count_gmacs, count_parameters
from .failures import noting_failure
from .measurement import Measurement
from .rows import Row
from .workload import Entry, Rounds, Workload


def compare(
    configs: Sequence[str | Entry],
    workload: Workload = Workload(),  # noqa: B008
    rounds: Rounds = Rounds(),  # noqa: B008
    device: str | torch.device | None = None,
) -> list[Row]:
    """Measure detectors in turn. If one fails, the others continue.

    Args:
        configs: Paths of configs, ``package::folder/file.py``, paths among this package's, or
            entries; the last is the reference.
        workload: Images, numbers of candidates and survivors.
        rounds: Number of runs of each action.
        device: Device to measure on; by default a GPU if there is one.

    Returns:
        One row per detector, in the given order.

    Examples:
        >>> rows = compare(
        ...     ['detnet/faster-rcnn_detnet59_fpn_1x_coco.py',
        ...      'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'],
        ...     Workload(height=320, width=480),
        ...     Rounds(timed=3, training=False),
        ... )
        >>> print(format_rows(rows))
    """
    rows = make_rows(configs, workload)
    measure(rows, rounds, device)
    return rows


def make_rows(configs: Sequence[str | Entry], workload: Workload) -> list[Row]:
    """Make a row for each config, with its parameters and multiply-adds.

    Args:
        configs: As for :func:`compare`.
        workload: Images, numbers of candidates and survivors.

    Returns:
        The rows for :func:`measure` to fill.
    """
    entries = [Entry(each) if isinstance(each, str) else each for each in configs]
    rows = [Row(entry, workload) for entry in entries]
    for row in rows:
        with noting_failure(row):
            _count(row)
    return rows


def measure(
    rows: Sequence[Row],
    rounds: Rounds = Rounds(),  # noqa: B008
    device: str | torch.device | None = None,
    after_round: Callable[[], object] = lambda: None,
) -> None:
    """Fill rows in turn. If interrupted, they hold all finished rounds.

    Args:
        rows: Rows of one workload; the last is the reference.
        rounds: Number of runs of each action.
        device: Device to measure on; by default a GPU if there is one.
        after_round: Called whenever there are new results.
    """
    device = torch.device(device or get_device())
    # Random weights give denormal numbers, which are a hundred times slower on a CPU.
    torch.set_flush_denormal(True)
    with Measurement(rows, rounds, device, after_round) as measurement:
        measurement.measure_memory()
        measurement.measure_times()


def _count(row: Row) -> None:
    kind = row.entry.kind
    detector = build_without_weights(load_with_settings(row.entry.config))
    row.parameters = count_parameters(detector if kind == 'detector' else getattr(detector, kind))
    row.gmacs = count_gmacs(detector, row.workload.height, row.workload.width, kind)
