"""From a folder of images with annotations to a detector, in the user's folder.

The steps of the console script ``mmdet-detnet``, as functions.
"""

from .looking import look
from .project import Options, create_project
from .training import find_checkpoint, test, train

__all__ = ['Options', 'create_project', 'find_checkpoint', 'look', 'test', 'train']
