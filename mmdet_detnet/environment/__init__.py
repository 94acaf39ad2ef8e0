"""The host libraries: which versions are supported, and which are installed."""

from .versions import check_dependencies

__all__ = ['check_dependencies']
