"""The alerts in Prometheus' own words: its rules are right, and each alert fires when it should and not before."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from palaver_operator.objects.monitoring import build_monitoring
from tests.cache import run
from tests.kubernetes.tools import CONTROL_PLANE, get_programs
from tests.palaver_operator.test_monitoring import ROOT
from tests.palaver_operator.workspaces import workspace

pytestmark = pytest.mark.needs_servers

OWN = 'namespace="talk",workspace="chat"'
OPERATOR = 'job="palaver-operator",pod="chat-operator-1"'
GATEWAY = f'{OWN},role="gateway",pod="chat-gateway-1"'
MESSAGING = f'{OWN},role="messaging",pod="chat-messaging-1"'
DAY = 86400
UP = {f'up{{{OWN},role="{role}",pod="{role}-1"}}': "1x120" for role in ("auth", "presence", "messaging", "gateway")}
LEADS = {f"palaver_operator_leads{{{OPERATOR}}}": "1x120"}


def _histogram(name: str, labels: str, slow: bool) -> dict[str, str]:
    """Ten observations a minute, all of them below a millisecond or all above a second."""
    growth = "0+10x120"
    below = "0x120" if slow else growth
    return {
        f'{name}_bucket{{{labels},le="0.001"}}': below,
        f'{name}_bucket{{{labels},le="1"}}': below,
        f'{name}_bucket{{{labels},le="5"}}': growth,
        f'{name}_bucket{{{labels},le="+Inf"}}': growth,
    }


# Each alert with series that make it fire, and with like ones that don't.
CASES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "PalaverRoleUnavailable": ({f'up{{{OWN},role="auth",pod="auth-1"}}': "0x120"}, {}),
    "PalaverPolicyStale": (
        {f"palaver_policy_age_seconds{{{GATEWAY}}}": "8x120"},
        {f"palaver_policy_age_seconds{{{GATEWAY}}}": "1x120"},
    ),
    "PalaverRequestsFailing": (
        {
            f'palaver_rest_request_seconds_count{{{GATEWAY},status="200",endpoint="me",method="GET"}}': "0+100x120",
            f'palaver_ddp_method_seconds_count{{{GATEWAY},outcome="failed",method="login"}}': "0+10x120",
        },
        {
            f'palaver_rest_request_seconds_count{{{GATEWAY},status="200",endpoint="me",method="GET"}}': "0+100x120",
            f'palaver_rest_request_seconds_count{{{GATEWAY},status="404",endpoint="me",method="GET"}}': "0+100x120",
            f'palaver_ddp_method_seconds_count{{{GATEWAY},outcome="refused",method="login"}}': "0+10x120",
        },
    ),
    "PalaverMessagesLate": (
        _histogram("palaver_event_age_seconds", GATEWAY, slow=True),
        _histogram("palaver_event_age_seconds", GATEWAY, slow=False),
    ),
    "PalaverEventLoopSlow": (
        _histogram("palaver_event_loop_lag_seconds", GATEWAY, slow=True),
        _histogram("palaver_event_loop_lag_seconds", GATEWAY, slow=False),
    ),
    "PalaverConnectionsNearLimit": (
        {f"palaver_connections{{{GATEWAY}}}": "70000x120"},
        {f"palaver_connections{{{GATEWAY}}}": "60000x120"},
    ),
    "PalaverNewcomersRefused": (
        {f'palaver_admissions_refused_total{{{GATEWAY},what="login"}}': "0+600x120"},
        # A stampede of some minutes.
        {f'palaver_admissions_refused_total{{{GATEWAY},what="login"}}': "0+600x5 3000x115"},
    ),
    "PalaverPresenceFailing": (
        {
            f'palaver_presence_reports_total{{{GATEWAY},outcome="failed"}}': "0+20x120",
            f'palaver_presence_reports_total{{{GATEWAY},outcome="answered"}}': "0+60x120",
        },
        {f'palaver_presence_reports_total{{{GATEWAY},outcome="answered"}}': "0+60x120"},
    ),
    "PalaverOutboxOld": (
        {f"palaver_outbox_age_seconds{{{MESSAGING}}}": "60x120"},
        {f"palaver_outbox_age_seconds{{{MESSAGING}}}": "1x120"},
    ),
    "PalaverEventsLeft": (
        {f"palaver_outbox_left_age_seconds{{{MESSAGING}}}": "600x120"},
        {f"palaver_outbox_left_age_seconds{{{MESSAGING}}}": "0x120"},
    ),
    "PalaverFollowerBehind": (
        {f'palaver_follower_oldest_seconds{{{MESSAGING},follower="names"}}': "900x120"},
        {f'palaver_follower_oldest_seconds{{{MESSAGING},follower="names"}}': "2x120"},
    ),
    "PalaverDeadLetters": (
        # It comes to be with its first one.
        {f'palaver_follower_events_dead_total{{{MESSAGING},follower="names"}}': "_x80 1x40"},
        {f'palaver_follower_events_dead_total{{{MESSAGING},follower="names"}}': "1x120"},
    ),
    "PalaverNatsUnsteady": (
        {
            f'palaver_nats_reconnects_total{{{MESSAGING},connection="log"}}': "0+2x120",
            f'palaver_nats_replies_missed_total{{{MESSAGING},connection="log"}}': "0+2x120",
        },
        {
            f'palaver_nats_reconnects_total{{{MESSAGING},connection="log"}}': "1x120",
            f'palaver_nats_replies_missed_total{{{MESSAGING},connection="log"}}': "1x120",
        },
    ),
    "PalaverDatabaseFailing": (
        {f'palaver_database_failures_total{{{MESSAGING},operation="commit"}}': "0+60x120"},
        {f'palaver_database_failures_total{{{MESSAGING},operation="commit"}}': "3x120"},
    ),
    "PalaverDegraded": (
        {f"palaver_operator_workspace_degraded{{{OWN}}}": "1x120"},
        {f"palaver_operator_workspace_degraded{{{OWN}}}": "0x120"},
    ),
    "PalaverSettingsRefused": (
        {f"palaver_settings_file_wrong{{{OWN}}}": "1x120"},
        {f"palaver_settings_file_wrong{{{OWN}}}": "0x120"},
    ),
    "PalaverCertificateEnding": (
        {f"palaver_operator_certificate_end_timestamp_seconds{{{OWN}}}": f"{10 * DAY}x120"},
        {f"palaver_operator_certificate_end_timestamp_seconds{{{OWN}}}": f"{80 * DAY}x120"},
    ),
    "PalaverBackupMissing": (
        {f"palaver_operator_backup_missing{{{OWN}}}": "1x120"},
        {f"palaver_operator_backup_missing{{{OWN}}}": "0x120"},
    ),
    "PalaverBackupFailed": (
        {f"palaver_operator_backup_failed{{{OWN}}}": "1x120"},
        {f"palaver_operator_backup_failed{{{OWN}}}": "0x120"},
    ),
    "PalaverOperatorAbsent": ({f"palaver_operator_leads{{{OPERATOR}}}": "0x120"}, {}),
    "PalaverOperatorNotReconciling": (
        {
            f"palaver_operator_workspaces{{{OPERATOR}}}": "3x120",
            f'palaver_operator_reconciles_finished_total{{{OPERATOR},outcome="done"}}': "9x120",
        },
        {
            f"palaver_operator_workspaces{{{OPERATOR}}}": "3x120",
            f'palaver_operator_reconciles_finished_total{{{OPERATOR},outcome="done"}}': "0+18x120",
        },
    ),
    "PalaverOperatorFailing": (
        {f'palaver_operator_reconciles_finished_total{{{OPERATOR},outcome="failed"}}': "0+6x120"},
        {f'palaver_operator_reconciles_finished_total{{{OPERATOR},outcome="failed"}}': "1x120"},
    ),
}


def rules() -> dict[str, dict[str, Any]]:
    """The workspace's and the operator's rules, by what their file is called."""
    found = workspace(monitoring={"rules": True}, roles={"gateway": {"max": 10}})
    (own,) = build_monitoring(found)
    chart = (ROOT / "charts" / "palaver" / "files" / "alerts.yaml").read_text()
    pods = 'job="palaver-operator",pod=~"chat-operator-.+"'
    return {"workspace.yaml": own["spec"], "operator.yaml": yaml.safe_load(chart.replace("$operator", pods))}


@pytest.fixture(scope="module")
def promtool() -> Path:
    return get_programs([module for module in CONTROL_PLANE if module.name == "promtool"])["promtool"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in rules().items():
        (tmp_path / name).write_text(yaml.safe_dump(content))
    return tmp_path


def test_rules_are_right(promtool: Path, folder: Path) -> None:
    run(promtool, "check", "rules", "--lint-fatal", *(folder / name for name in rules()))


def test_every_alert_fires_when_it_should_and_not_else(promtool: Path, folder: Path) -> None:
    names = [rule["alert"] for content in rules().values() for group in content["groups"] for rule in group["rules"]]
    assert sorted(names) == sorted(CASES)
    tests = []
    for name, (loud, calm) in CASES.items():
        for series, expected in ((loud, [{"labels": f'{{alertname="{name}"}}', "value": 1}]), (calm, [])):
            everything = {**UP, **LEADS, **series}
            tests.append(
                {
                    "name": f"{name}: {'fires' if expected else 'does not'}",
                    "interval": "1m",
                    "input_series": [{"series": one, "values": values} for one, values in everything.items()],
                    "promql_expr_test": [
                        {
                            "expr": 'max by (alertname) (ALERTS{alertstate="firing"})',
                            "eval_time": "100m",
                            "exp_samples": expected,
                        }
                    ],
                }
            )
    content = {"rule_files": list(rules()), "evaluation_interval": "1m", "tests": tests}
    (folder / "tests.yaml").write_text(yaml.safe_dump(content))
    run(promtool, "test", "rules", folder / "tests.yaml")
