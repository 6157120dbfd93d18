"""PYTQ: a task queue for science teams."""

__version__ = "0.3.0"
