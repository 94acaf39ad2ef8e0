"""How fast a network multiplies and adds, beside the fastest that the device does it."""

import statistics
from collections.abc import Sequence

from .rows import Row


def flop_rates(row: Row) -> list[float]:
    """Divide the operations of the forward pass by the time of each round.

    Args:
        row: Any.

    Returns:
        Operations per second, two for a multiply-add; none where something was not measured.
    """
    operations = 2e9 * sum(row.gmacs.values()) * row.images
    return [operations / seconds for seconds in row.predict_seconds] if operations else []


def roofline(rows: Sequence[Row]) -> list[dict[str, str]]:
    """Compare every row's rate with that of the matrix product in the same rounds.

    Args:
        rows: Of a comparison of backbones.

    Returns:
        Lines of a table, empty without a matrix product.
    """
    product = next((row for row in rows if row.entry.kind == 'matmul'), None)
    if product is None or not product.predict_seconds:
        return []
    lines = []
    for row in rows:
        rates = flop_rates(row)
        if not rates:
            continue
        pairs = zip(rates, flop_rates(product), strict=True)
        lines.append(
            {
                'subject': row.title,
                'GFLOP/s': f'{statistics.median(rates) / 1e9:.1f}',
                'of the matrix product': f'{statistics.median(a / b for a, b in pairs):.2f}',
            }
        )
    return lines
