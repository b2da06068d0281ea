"""What all tests share: Hypothesis judges the code, not how busy the machine is; no test sees another's scope."""

import pytest
from hypothesis import HealthCheck, settings
from mmengine.registry import DefaultScope

settings.register_profile('any machine', parent=settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile('any machine')


@pytest.fixture(autouse=True)
def no_scope_is_left():
    """A runner sets MMEngine's default scope for its whole process, in which the next test builds by plain names."""
    yield
    DefaultScope._instance_dict.clear()
