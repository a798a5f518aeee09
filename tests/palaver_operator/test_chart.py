"""The chart's files: what is generated is current, and its pages speak of what there is."""

import re
from typing import Any

import pytest
import yaml

from docs.generate_chart import CHART, build_files, list_leaves, read_comments
from palaver_operator import __version__
from palaver_operator.conditions import Reason
from palaver_operator.kinds import list_rules
from palaver_operator.resource import parse

EXAMPLES = sorted((CHART / "examples").glob("*.yaml"))


def test_generated_files_are_current() -> None:
    for file, content in build_files().items():
        assert file.read_text(encoding="utf-8") == content, f"{file.name}: run 'make chart'"
    assert {file.name for file in (CHART / "crds").iterdir()} == {"palaver.yaml", "palaverbackup.yaml"}


def test_the_chart_installs_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__


def test_every_value_is_explained() -> None:
    page = (CHART / "values.yaml").read_text(encoding="utf-8")
    comments = read_comments(page)
    for path, _ in list_leaves(yaml.safe_load(page)):
        assert comments.get(path, "").endswith("."), path


def test_what_the_operator_may_do_is_its_own_list() -> None:
    rules = yaml.safe_load((CHART / "files" / "rules.yaml").read_text())
    assert sorted([*rules["own"], *rules["workspaces"]], key=str) == sorted(list_rules(), key=str)
    for rule in [*rules["own"], *rules["workspaces"]]:
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        assert "rbac.authorization.k8s.io" not in rule["apiGroups"]
    assert [rule["resources"] for rule in rules["own"]] == [["leases"]]


def test_the_readme_names_every_example_and_every_reason() -> None:
    readme = (CHART / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\(examples/([a-z-]+\.yaml)\)", readme)) == {file.name for file in EXAMPLES}
    table = readme.partition("| condition | reason |")[2].partition("\n\n")[0]
    assert sorted(re.findall(r"\| `([A-Z][A-Za-z]+)` \|", table)) == sorted(Reason)
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", readme):
        assert (CHART / target).exists(), target


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: str(file.stem))
def test_examples_are_what_the_operator_understands(file: Any) -> None:
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    spec = {"version": __version__, **values["workspace"]["spec"]}
    workspace = parse({"metadata": {"name": "chat", "namespace": "chat"}, "spec": spec})
    assert workspace.spec.hostname.startswith(("chat.example.", "chat2.example."))
    assert workspace.is_single == (file.stem == "trial")
