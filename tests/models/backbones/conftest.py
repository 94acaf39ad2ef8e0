"""What the tests of weights share."""

import logging

import pytest
from mmengine.logging import MMLogger


@pytest.fixture
def log(caplog):
    """Catch what mmengine's logger prints."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    caplog.set_level(logging.INFO)
    yield caplog
    logger.removeHandler(caplog.handler)
