"""What pyproject.toml cannot say: the wheel holds the files that the library needs at run time.

They stay where they are read and edited; the wheel gets copies (plkd/utils/resources.py).
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = (
    "resources/gene_sets/*",
    "resources/gene_names/*",
    "resources/markers/*",
    "resources/page/*",
    "resources/paper/*",
    "config/methods.tsv",
    "workflow/schemas/*.yaml",
)


class BuildWithResources(build_py):
    """Build the package and put the files beside it."""

    def run(self) -> None:
        """Copy `SHIPPED` into plkd/shipped; an editable install finds them in the repository."""
        super().run()
        if self.editable_mode:
            return
        for pattern in SHIPPED:
            found = sorted(Path().glob(pattern))
            if not found:
                raise FileNotFoundError(f"no file is called {pattern}")
            for path in found:
                target = Path(self.build_lib, "plkd", "shipped", path)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)


setup(cmdclass={"build_py": BuildWithResources})
