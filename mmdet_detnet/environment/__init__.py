"""Supported and installed versions of the host libraries."""

from .versions import check_dependencies

__all__ = ['check_dependencies']
