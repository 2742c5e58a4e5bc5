"""Files that come with the library: gene sets, markers, gene names, methods, schemas.

In the repository they stand in ``resources/``, ``config/`` and ``workflow/schemas``; the wheel
holds copies under the same names in the folder ``plkd/shipped``.
"""

from __future__ import annotations

from pathlib import Path

from plkd.errors import InputError

_LIBRARY = Path(__file__).resolve().parents[1]


def resource(path: str) -> Path:
    """Where a file that comes with the library is.

    Parameters
    ----------
    path
        Its place in the repository, such as ``resources/gene_sets/blood_programmes.gmt``.

    Raises
    ------
    InputError
        If neither the installed library nor a repository around it has the file.
    """
    for root in (_LIBRARY / "shipped", _LIBRARY.parents[2]):
        if (root / path).exists():
            return root / path
    raise InputError(
        f"'{path}' did not come with this copy of plkd ('{_LIBRARY}'): install it again, or work "
        "in a clone of the repository."
    )
