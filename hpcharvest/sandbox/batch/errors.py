"""The two ways in which a command to the embedded batch system fails."""


class BatchError(Exception):
    """A command was not carried out; `exit_code` is what the command line ends with."""

    exit_code = 1


class RefusedError(BatchError):
    """The batch system answered, and its answer is no: an impossible shape, an unknown job, a limit."""

    exit_code = 1


class UnreachableError(BatchError):
    """No answer came. This says nothing about any job, and a request may even have been carried out."""

    exit_code = 2
