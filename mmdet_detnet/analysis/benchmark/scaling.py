"""Cost against batch and image size, and a model of what a training on several GPUs takes."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .rows import Row
from .workload import Workload

# COCO train2017: 118,287 images, of which mmdet leaves out those without a usable box.
COCO_IMAGES, EPOCHS_1X = 117_266, 12
NUM_GPUS = (1, 8, 64)
BYTES_PER_GRADIENT = 4
DPI = 110


@dataclass
class Point:
    """The rows of one workload.

    Attributes:
        workload: Size and number of images.
        rows: One for each detector.
    """

    workload: Workload
    rows: list[Row]


def make_workloads(
    batches: Sequence[int], sizes: Sequence[tuple[int, int]], base_batch: int
) -> list[Workload]:
    """List the workloads of both curves, each once.

    Args:
        batches: Numbers of images, measured at the last of the sizes.
        sizes: Heights and widths in pixels, measured at the base batch.
        base_batch: Number of images of the curve over sizes.

    Returns:
        Workloads, the curve over batches first.
    """
    height, width = sizes[-1]
    pairs = [(batch, height, width) for batch in batches]
    pairs += [(base_batch, *size) for size in sizes]
    return [Workload(h, w, batch) for batch, h, w in dict.fromkeys(pairs)]


def training_hours(
    step_seconds: float,
    trained_parameters: int,
    gpus: int,
    images_per_gpu: int,
    bandwidth: float,
) -> float:
    """Estimate how long the 1x schedule on COCO takes; a model, not a measurement.

    Every GPU takes as long for a step as the one that was measured, and then the gradients are
    summed in a ring: each GPU sends and receives 2 (n - 1) / n of them. Nothing overlaps, loading
    of images keeps up, validation is not counted. Data-parallel training as mmdet does it
    overlaps sending with the backward pass, so the part for communication is an upper bound.

    Args:
        step_seconds: Measured time of a training step with ``images_per_gpu`` images.
        trained_parameters: Number of gradients, sent in float32.
        gpus: How many.
        images_per_gpu: Images of a step on each.
        bandwidth: Of the slowest link between two GPUs in one direction, in bytes per second.

    Returns:
        Hours for 12 epochs of 117,266 images.
    """
    steps = EPOCHS_1X * -(-COCO_IMAGES // (gpus * images_per_gpu))
    sent = 2 * (gpus - 1) / gpus * trained_parameters * BYTES_PER_GRADIENT
    return steps * (step_seconds + sent / bandwidth) / 3600


def estimate_training(
    points: Sequence[Point], images_per_gpu: int, bandwidth: float
) -> list[dict[str, object]]:
    """Estimate the training of every detector that was measured at the batch of one GPU.

    Args:
        points: As measured; of the largest images with that batch.
        images_per_gpu: Images of a step on one GPU.
        bandwidth: See :func:`training_hours`.

    Returns:
        A line for each detector: measured step, size of the gradients, hours by number of GPUs.
    """
    fitting = [point for point in points if point.workload.batch == images_per_gpu]
    if not fitting:
        return []
    point = max(fitting, key=lambda point: point.workload.height * point.workload.width)
    lines = []
    for row in point.rows:
        if not row.train_seconds:
            continue
        step = statistics.median(row.train_seconds)
        hours = {
            f'hours on {gpus}': training_hours(
                step, row.trained_parameters, gpus, images_per_gpu, bandwidth
            )
            for gpus in NUM_GPUS
        }
        size = f'{point.workload.height}x{point.workload.width}'
        gradients = row.trained_parameters * BYTES_PER_GRADIENT / 1e6
        lines.append(
            {'detector': row.title, 'images': size, 'step s': step, 'gradients MB': gradients}
            | hours
        )
    return lines


def plot_scaling(points: Sequence[Point], path: Path) -> Path:
    """Draw time and memory against batch size and against image size.

    Args:
        points: As measured.
        path: Image to write.

    Returns:
        The path.
    """
    by_batch, by_size = choose_curves(points)
    curves = {
        'images in a batch': (by_batch, lambda workload: workload.batch),
        'megapixels of an image': (
            by_size,
            lambda workload: workload.height * workload.width / 1e6,
        ),
    }
    figure = Figure(figsize=(10, 7), dpi=DPI, layout='constrained')
    panels = figure.subplots(2, 2)
    for column, (label, (chosen, position)) in enumerate(curves.items()):
        for axes, kind in zip(panels[:, column], ('seconds', 'mib'), strict=True):
            _plot_curves(axes, chosen, position, kind)
            axes.set_xlabel(label)
    panels[0, 0].legend(fontsize=7)
    figure.savefig(path)
    return path


def choose_curves(points: Sequence[Point]) -> tuple[list[Point], list[Point]]:
    """Pick the points of the two curves.

    Args:
        points: As measured.

    Returns:
        The points of the image size that has most batches, and of the batch that has most sizes.
    """
    sizes = [(point.workload.height, point.workload.width) for point in points]
    batches = [point.workload.batch for point in points]
    size, batch = statistics.mode(sizes), statistics.mode(batches)
    by_batch = [point for point, each in zip(points, sizes, strict=True) if each == size]
    return by_batch, [point for point, each in zip(points, batches, strict=True) if each == batch]


def _plot_curves(axes: Axes, points: list[Point], position: object, kind: str) -> None:
    points = sorted(points, key=lambda point: position(point.workload))
    for index, row in enumerate(points[0].rows):
        for action, style in (('train', '-'), ('predict', '--')):
            values = [
                (position(point.workload), _value(point.rows[index], f'{action}_{kind}'))
                for point in points
            ]
            values = [(x, y) for x, y in values if y is not None]
            label = f'{row.title}, {"training step" if action == "train" else "inference"}'
            axes.plot(*zip(*values, strict=True) if values else ((), ()), f'o{style}', label=label)
    axes.set_ylabel('seconds' if kind == 'seconds' else 'peak memory, MiB')
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)


def _value(row: Row, key: str) -> float | None:
    value = getattr(row, key)
    if isinstance(value, list):
        return statistics.median(value) if value else None
    return value


def as_dictionaries(points: Sequence[Point]) -> list[dict]:
    """Turn points into what a JSON file can hold.

    Args:
        points: As measured.

    Returns:
        A dictionary for each.
    """
    return [asdict(point) for point in points]
