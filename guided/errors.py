"""The one exception that means "the input is wrong", as opposed to "the program is wrong"."""


class InputError(ValueError):
    """A file, configuration value or class of images cannot be used.

    Its message is one line that names what is at fault and what was expected; the command line
    prints that line and exits with status 2.
    """


def check_positive(owner: str, **values: float) -> None:
    """Raise :class:`InputError` for the first value that is not above zero.

    Args:
        owner: the class that the values configure, for the message.
        values: by their configuration keys.
    """
    for key, value in values.items():
        if not value > 0:
            raise InputError(f"{owner}.{key}: expected > 0, got {value}")
