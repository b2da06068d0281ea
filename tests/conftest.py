"""What all tests share: Hypothesis judges the code, not how busy the machine is."""

from hypothesis import HealthCheck, settings

settings.register_profile('any machine', parent=settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile('any machine')
