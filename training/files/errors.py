"""The error that the command line reports without a traceback."""


class ActisegError(Exception):
    """A problem that the user can fix: names the file or option, its value and the remedy."""
