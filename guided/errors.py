"""The exception for wrong input, as opposed to a wrong program."""


class InputError(ValueError):
    """A file, a setting or a set of images cannot be used.

    The message is one line that names the culprit and what was expected; the command line prints
    it and exits with status 2.
    """
