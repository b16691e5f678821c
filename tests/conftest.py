"""Settings of all tests: no time limit for an example, as machines that test are shared."""

from hypothesis import settings

settings.register_profile("tricell", deadline=None)
settings.load_profile("tricell")
