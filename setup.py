"""What pyproject.toml cannot say: a built package holds the folder ``recipes/``, which lies beside it in a clone."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithRecipes(build_py):
    """Copy the recipes into the package; an editable install reads them where they are."""

    def run(self) -> None:
        """As setuptools does, and copy."""
        super().run()
        if not self.editable_mode:
            shutil.copytree("recipes", Path(self.build_lib, "peftcorr", "recipes"), dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithRecipes})
