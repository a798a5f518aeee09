"""The files of Palaver's image, made once for the tests of this folder."""

from pathlib import Path

import pytest

from image.root import PARTS, make_root


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What image/root.py makes: a folder for each part."""
    folder = tmp_path_factory.mktemp("image")
    make_root(folder, list(PARTS))
    return folder
