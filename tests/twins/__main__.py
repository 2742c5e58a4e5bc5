"""Write a miniature twin by hand: ``cd tests; python -m twins NAME FOLDER``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from plkd.errors import InputError
from twins.registry import WRITERS, write_twin


def main() -> int:
    """Write the twin that the command line names; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m twins",
        description="Write simulated files that are laid out as the published ones of a data set "
        "of the paper, as FOLDER/HOST/PATH of their addresses.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", choices=WRITERS, help=", ".join(WRITERS))
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="root of the files")
    parser.add_argument("--cells", type=int, default=600, metavar="N", help="cells to draw")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="same seed, same cells")
    options = parser.parse_args()
    try:
        truth = write_twin(options.name, options.folder, n_cells=options.cells, seed=options.seed)
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    print(
        f"{len(truth.files)} files of the twin of '{options.name}' in '{options.folder}'. To run "
        f"the pipeline on them: python -m http.server --directory {options.folder} 8000, and set "
        "`url_rewrites` of the configuration to {'https://': 'http://127.0.0.1:8000/', 'http://': "
        "'http://127.0.0.1:8000/'}; the data set's `sha256` and `expected` are those of the real "
        "files."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
