"""The bill of materials of Palaver's image, in CycloneDX's JSON: which packages, which versions, which licences.

    python -m image.sbom OUT.json       # `make sbom`

It is made of what the image itself has: the packages that were installed for it and what their metadata says, and the
shared libraries that its Python needs, with their hashes. The same image has the same bill, to the byte.
"""

import argparse
import hashlib
import json
import platform
import tempfile
import tomllib
import uuid
from collections.abc import Mapping, Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from image.root import LIBRARY, SOURCE, make_root

Component = dict[str, Any]

_NAMESPACE = uuid.UUID("6ba7b812-9dad-11d1-80b4-00c04fd430c8")
_CLASSIFIER = "License :: OSI Approved :: "


def make_bill(root: Path) -> Mapping[str, Any]:
    """The bill of what image/root.py has made in this folder: the parts `runtime` and `packages`, Palaver on top."""
    packages = root / "packages" / LIBRARY / "site-packages"
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    found: dict[str, Distribution] = {
        canonicalize_name(each.name): each
        for each in sorted(distributions(path=[str(packages)]), key=lambda each: canonicalize_name(each.name))
    }
    python = _component("framework", "python", platform.python_version(), "pkg:generic/python@", "Python-2.0")
    top = _component("application", project["name"], project["version"], "pkg:generic/palaver@", project["license"])
    files = {file.name: file for part in ("packages", "runtime") for file in root.glob(f"{part}/usr/lib/*")}
    libraries = [_file(file) for _, file in sorted(files.items())]
    installed = [_package(name, each) for name, each in found.items()]
    references = {str(name): str(component["bom-ref"]) for name, component in zip(found, installed, strict=True)}
    extras = project.get("optional-dependencies", {})
    direct = _needed([*project["dependencies"], *(line for lines in extras.values() for line in lines)], references)
    dependencies = [{"ref": top["bom-ref"], "dependsOn": [python["bom-ref"], *direct]}]
    dependencies.append({"ref": python["bom-ref"], "dependsOn": [library["bom-ref"] for library in libraries]})
    for name, each in found.items():
        dependencies.append({"ref": references[name], "dependsOn": _needed(each.requires or (), references)})
    content = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": top},
        "components": [python, *libraries, *installed],
        "dependencies": dependencies,
    }
    serial = uuid.uuid5(_NAMESPACE, json.dumps(content, sort_keys=True))
    return {**content, "serialNumber": f"urn:uuid:{serial}"}


def _component(kind: str, name: str, version: str, url: str, licence: str) -> Component:
    return {
        "type": kind,
        "bom-ref": f"{url}{version}",
        "name": name,
        "version": version,
        "purl": f"{url}{version}",
        "licenses": [{"expression": licence}],
    }


def _file(file: Path) -> Component:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    hashes = [{"alg": "SHA-256", "content": digest}]
    return {"type": "file", "bom-ref": f"file:{file.name}", "name": f"/usr/lib/{file.name}", "hashes": hashes}


def _package(name: str, each: Distribution) -> Component:
    reference = f"pkg:pypi/{name}@{each.version}"
    described: Component = {"type": "library", "bom-ref": reference, "name": name, "version": each.version}
    if "Summary" in each.metadata:
        described["description"] = each.metadata["Summary"]
    return {**described, "purl": reference, "licenses": _licences(each)}


def _licences(each: Distribution) -> list[Mapping[str, Any]]:
    """As an expression where the package gives one, else in its own words."""
    if "License-Expression" in each.metadata:
        return [{"expression": each.metadata["License-Expression"]}]
    classified = [
        line.removeprefix(_CLASSIFIER)
        for line in each.metadata.get_all("Classifier") or ()
        if line.startswith(_CLASSIFIER)
    ]
    if classified:
        return [{"license": {"name": name}} for name in sorted(classified)]
    text = each.metadata["License"].strip() if "License" in each.metadata else ""
    return [{"license": {"name": text.partition("\n")[0] or "not said"}}]


def _needed(requirements: Sequence[str], references: Mapping[str, str]) -> list[str]:
    """Those of the requirements that hold here, without extras, and that are there."""
    needed = set()
    for line in requirements:
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        if name in references and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            needed.add(references[name])
    return sorted(needed)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make sbom", description="The bill of materials of Palaver's image.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--root", type=Path, help="where image/root.py has made the image's folders (default: anew)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="palaver-sbom-") as temporary:
        root = given.root or Path(temporary)
        if given.root is None:
            make_root(root, ["runtime", "packages"])
        bill = make_bill(root)
    given.file.parent.mkdir(parents=True, exist_ok=True)
    given.file.write_text(json.dumps(bill, indent=2) + "\n")
    print(f"{given.file}: {len(bill['components'])} components")


if __name__ == "__main__":
    main()
