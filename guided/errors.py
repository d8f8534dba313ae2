"""The one exception that means "the input is wrong", as opposed to "the program is wrong"."""


class InputError(ValueError):
    """A file, configuration value or class of images cannot be used.

    Its message is one line that names what is at fault and what was expected; the command line
    prints that line and exits with status 2.
    """
