"""`palaver-operator render`: for those who run no operator."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from palaver_operator.cli import main
from tests.palaver_operator.workspaces import CLUSTER, SINGLE, palaver

Capture = pytest.CaptureFixture[str]
VOLUME = {"volume": {"claimName": "c"}}


def render(file: Path, body: dict[str, Any], capture: Capture, *options: str) -> tuple[str, str]:
    """What it prints, and what it says beside."""
    file.write_text(yaml.safe_dump(body))
    main(["render", str(file), *options])
    said = capture.readouterr()
    return said.out, said.err


@pytest.mark.parametrize("base", [CLUSTER, SINGLE])
@pytest.mark.parametrize("is_list", [False, True])
def test_rendered_again_with_its_secrets_nothing_has_changed(
    base: dict[str, Any], is_list: bool, tmp_path: Path, capsys: Capture
) -> None:
    first, told = render(tmp_path / "palaver.yaml", palaver(base), capsys)
    assert "say --secrets" in told
    secrets = [one for one in yaml.safe_load_all(first) if one["kind"] == "Secret"]
    assert secrets
    kept = tmp_path / "secrets.yaml"
    kept.write_text(yaml.safe_dump({"kind": "List", "items": secrets}) if is_list else yaml.safe_dump_all(secrets))
    again, told = render(tmp_path / "palaver.yaml", palaver(base), capsys, "--secrets", str(kept))
    assert again == first
    assert "say --secrets" not in told
    other, _ = render(tmp_path / "palaver.yaml", palaver(base), capsys)
    assert other != first


def test_what_says_no_namespace_is_for_the_one_that_is_said(tmp_path: Path, capsys: Capture) -> None:
    body = palaver()
    said, _ = render(tmp_path / "palaver.yaml", body, capsys, "--namespace", "other")
    assert {one["metadata"]["namespace"] for one in yaml.safe_load_all(said)} == {"talk"}
    del body["metadata"]["namespace"]
    for options, namespace in ((["--namespace", "other"], "other"), ([], "default")):
        said, _ = render(tmp_path / "palaver.yaml", body, capsys, *options)
        assert {one["metadata"]["namespace"] for one in yaml.safe_load_all(said)} == {namespace}
        assert f"dns:///chat-auth-grpc.{namespace}.svc" in said


def test_what_it_can_not_do_is_said(tmp_path: Path, capsys: Capture) -> None:
    _, plain = render(tmp_path / "palaver.yaml", palaver(), capsys)
    assert "palaver migrate" in plain
    assert "90 days" in plain
    assert "spec.backup" not in plain
    both = palaver(backup={"to": VOLUME}, restore={"from": VOLUME})
    _, told = render(tmp_path / "palaver.yaml", both, capsys)
    assert "spec.backup is left out" in told
    assert "spec.restore is left out" in told
