"""The release of stacpin, where everything can read it without waiting for `importlib.metadata`: that takes 10 ms."""

__all__ = ["RELEASE"]

# pyproject.toml has it too: a test compares them.
RELEASE = "0.1.0"
