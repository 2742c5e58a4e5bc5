"""The one exception for problems that the user can mend."""


class InputError(ValueError):
    """Something given to PLKD (a file, a column, a setting) cannot be used.

    The message names the file, the slot, what was found, what was expected and what to do. Scripts
    and the command line print it without a traceback and exit with status 1.
    """
