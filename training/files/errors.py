"""The error that the command line reports without a traceback."""

from actiseg_ros.errors import ActisegError

__all__ = ["ActisegError"]
