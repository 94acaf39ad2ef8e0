"""One comparison: several detectors under one workload, the last of them the reference."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hub import get_config
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmdet_detnet import config_path

from .detectors import (
    Workload,
    build_detector,
    make_batch,
    predict,
    raise_scores,
    share_weights,
    train_step,
)
from .memory import PeakMemory, run_alone
from .timing import Ratio, ratio, time_in_turn

# Too small to change a weight: the steps are timed, not their effect.
LEARNING_RATE = 1e-8


@dataclass
class Row:
    """What one detector costs, and its ratios to the reference.

    Attributes:
        config: Name of the config.
        parameters: Number of trained and frozen parameters.
        gmacs: Multiply-adds of convolutions and matrix products of one image's forward pass, in
            units of 1e9. Those of a RoI head depend on the number of RoIs and are not counted.
        predict_seconds: Time of each round of inference: network, decoding and NMS.
        train_seconds: Time of each round of a training step: loss, backward pass and optimiser.
        predict_mib: Peak memory of inference, in MiB.
        train_mib: Peak memory of a training step, in MiB.
        ratios: For each measured quantity, how it compares with the reference.
    """

    config: str
    parameters: int
    gmacs: float
    predict_seconds: list[float]
    train_seconds: list[float]
    predict_mib: float
    train_mib: float
    ratios: dict[str, Ratio]


def load_config(name: str) -> Config:
    """Find a config by its path, as ``package::folder/file.py``, or among this package's.

    Args:
        name: Any of the three.

    Returns:
        The config.

    Raises:
        FileNotFoundError: If there is none.
    """
    if '::' in name:
        return get_config(name)
    return Config.fromfile(name if Path(name).is_file() else config_path(name))


def compare(
    names: Sequence[str],
    workload: Workload,
    device: torch.device,
    rounds: int,
    warm_up: int,
    progress: Callable[[], None] = lambda: None,
) -> list[Row]:
    """Measure the detectors in turn.

    Args:
        names: Configs; the last is the reference.
        workload: Images and number of candidates.
        device: Where they run.
        rounds: How often each action is timed.
        warm_up: How often it runs before.
        progress: Called after every timed action.

    Returns:
        A row for each config, in the order given.
    """
    # Random weights make numbers so small that a CPU handles them a hundred times slower.
    torch.set_flush_denormal(True)
    detectors = [build_detector(load_config(name), workload, device) for name in names]
    batches = [make_batch(detector, workload, device) for detector in detectors]
    raise_scores(detectors[-1], batches[-1], workload.candidates)
    for detector in detectors[:-1]:
        share_weights(detector, detectors[-1])
    time = partial(time_in_turn, rounds=rounds, warm_up=warm_up, device=device, progress=progress)
    pairs = list(zip(detectors, batches, strict=True))
    gmacs = [count_gmacs(*pair) for pair in pairs]
    predicting = time([partial(predict, *pair) for pair in pairs])
    training = time([_training(*pair) for pair in pairs])
    memory = [run_alone(measure_memory, name, workload, device) for name in names]
    parameters = [sum(p.numel() for p in detector.parameters()) for detector in detectors]
    memory_columns = zip(*memory, strict=True)
    columns = zip(names, parameters, gmacs, predicting, training, *memory_columns, strict=True)
    rows = [Row(*values, ratios={}) for values in columns]
    for row in rows:
        row.ratios = _ratios(row, rows[-1])
    return rows


def count_gmacs(detector: nn.Module, batch: dict) -> float:
    """Count the multiply-adds of backbone, neck and dense head for one image.

    Args:
        detector: Any detector.
        batch: Of :func:`make_batch`.

    Returns:
        Multiply-adds in units of 1e9.
    """
    head = getattr(detector, 'bbox_head', None) or getattr(detector, 'rpn_head', nn.Identity())
    detector.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        head(detector.extract_feat(batch['inputs'][:1]))
    return counter.get_total_flops() / 2 / 1e9


def _training(detector: nn.Module, batch: dict) -> Callable[[], None]:
    detector.train()
    trained = [parameter for parameter in detector.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=LEARNING_RATE, momentum=0.9)
    return partial(train_step, detector, optimizer, batch)


def measure_memory(name: str, workload: Workload, device: torch.device) -> tuple[float, float]:
    """Measure the peak memory of inference, and of a training step after it.

    Args:
        name: Config of the detector.
        workload: Images and number of candidates.
        device: Where it runs.

    Returns:
        Both peaks, in MiB.
    """
    peak = PeakMemory(device)
    detector = build_detector(load_config(name), workload, device)
    batch = make_batch(detector, workload, device)
    raise_scores(detector, batch, workload.candidates)
    predict(detector, batch)
    predicting = peak.mebibytes()
    _training(detector, batch)()
    return predicting, peak.mebibytes()


def _ratios(row: Row, reference: Row) -> dict[str, Ratio]:
    timed = ('predict_seconds', 'train_seconds')
    ratios = {key: ratio(getattr(row, key), getattr(reference, key)) for key in timed}
    for key in ('predict_mib', 'train_mib'):
        ratios[key] = ratio([getattr(row, key)], [getattr(reference, key)])
    return ratios
