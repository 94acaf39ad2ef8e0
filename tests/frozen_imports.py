"""Hides what was imported before this module from the garbage collector.

mmengine collects for each dataset, and Python twice at its end, each time for a fifth of a second.
"""

import gc

gc.freeze()
