"""The command ``plkd``: one module per command, thin around :mod:`plkd.api`.

The modules import the library when they run, so that ``--help`` and mistakes in the arguments
answer at once.
"""

from plkd.cli.command import main

__all__ = ["main"]
