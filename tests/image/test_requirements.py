"""What the package says that it needs is what its lock is made of."""

import re
import tomllib

from image.root import SOURCE


def test_the_package_needs_what_its_lock_is_made_of() -> None:
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[>=;]", line, maxsplit=1)[0].strip() for line in project["dependencies"]}
    lines = (SOURCE / "requirements/runtime.in").read_text().splitlines()
    assert needed == {line for line in lines if not line.startswith("#")}
