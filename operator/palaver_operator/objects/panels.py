"""What a workspace's dashboards show: rows of panels, of which dashboards.py makes Grafana's JSON.

In an expression `$w` stands for the labels that find the workspace's series.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Panel:
    """`queries`: expressions by what their series are called in the legend."""

    title: str
    unit: str
    queries: dict[str, str]
    kind: str = "timeseries"


def _quantile(metric: str, by: str = "", quantile: str = "0.99", where: str = "") -> str:
    groups = f"le, {by}" if by else "le"
    return f"histogram_quantile({quantile}, sum by ({groups}) (rate({metric}_bucket{{$w{where}}}[$__rate_interval])))"


def _rate(metric: str, by: str = "", where: str = "") -> str:
    return f"sum{f' by ({by}) ' if by else ''}(rate({metric}{{$w{where}}}[$__rate_interval]))"


def _number(title: str, query: str, unit: str = "short") -> Panel:
    return Panel(title, unit, {title: query}, "stat")


DASHBOARDS: dict[str, list[list[Panel]]] = {
    "overview": [
        [
            _number("Connections", "sum(palaver_connections{$w})"),
            _number("Messages a second", _rate("palaver_messages_sent_total"), "cps"),
            _number("Message delay, p99", _quantile("palaver_event_age_seconds"), "s"),
            _number("Requests that fail", _rate("palaver_rest_request_seconds_count", where=',status=~"5.."'), "reqps"),
        ],
        [
            Panel(
                "Processes by role and version",
                "short",
                {"{{role}} {{version}}": "sum by (role, version) (palaver_build_info{$w})"},
            ),
            Panel("Connections by gateway", "short", {"{{pod}}": "sum by (pod) (palaver_connections{$w})"}),
        ],
        [
            Panel(
                "Requests a second",
                "reqps",
                {
                    "REST {{status}}": _rate("palaver_rest_request_seconds_count", "status"),
                    "DDP {{outcome}}": _rate("palaver_ddp_method_seconds_count", "outcome"),
                },
            ),
            Panel(
                "How long they take, p99",
                "s",
                {"REST": _quantile("palaver_rest_request_seconds"), "DDP": _quantile("palaver_ddp_method_seconds")},
            ),
        ],
        [
            Panel(
                "CPU",
                "percentunit",
                {"{{pod}}": "sum by (pod) (rate(process_cpu_seconds_total{$w}[$__rate_interval]))"},
            ),
            Panel("Memory", "bytes", {"{{pod}}": "sum by (pod) (process_resident_memory_bytes{$w})"}),
        ],
        [
            Panel("Age of the policy", "s", {"{{pod}}": "max by (pod) (palaver_policy_age_seconds{$w})"}),
            Panel("Lateness of event loops, p99", "s", {"{{pod}}": _quantile("palaver_event_loop_lag_seconds", "pod")}),
        ],
    ],
    "gateway": [
        [
            Panel("Connections", "short", {"{{pod}}": "sum by (pod) (palaver_connections{$w})"}),
            Panel(
                "Connections a second",
                "cps",
                {
                    "opened": _rate("palaver_connections_opened_total"),
                    "dropped, too slow": _rate("palaver_connections_dropped_total"),
                    "login ended": _rate("palaver_logins_ended_total"),
                    "refused: {{what}}": _rate("palaver_admissions_refused_total", "what"),
                },
            ),
        ],
        [
            Panel("Frames written a second", "cps", {"{{pod}}": _rate("palaver_deliveries_total", "pod")}),
            Panel(
                "Message delay",
                "s",
                {
                    f"p{share[2:]}": _quantile("palaver_event_age_seconds", quantile=share)
                    for share in ("0.50", "0.95", "0.99")
                },
            ),
        ],
        [
            Panel(
                "REST requests a second",
                "reqps",
                {"{{endpoint}}": f"topk(12, {_rate('palaver_rest_request_seconds_count', 'endpoint')})"},
            ),
            Panel(
                "DDP methods a second",
                "reqps",
                {"{{method}}": f"topk(12, {_rate('palaver_ddp_method_seconds_count', 'method')})"},
            ),
        ],
        [
            Panel(
                "What fails",
                "cps",
                {
                    "REST {{endpoint}}": _rate("palaver_rest_errors_total", "endpoint"),
                    "DDP {{name}}": _rate("palaver_ddp_errors_total", "name"),
                },
            ),
            Panel(
                "Calls to other processes, p99",
                "s",
                {
                    "{{service}} {{method}}": _quantile(
                        "palaver_rpc_call_seconds", "service, method", where=',role="gateway"'
                    )
                },
            ),
        ],
        [
            Panel(
                "What was missed and fetched",
                "cps",
                {
                    "gaps {{stream_kind}}": _rate("palaver_event_gaps_total", "stream_kind"),
                    "events {{stream_kind}}": _rate("palaver_events_repaired_total", "stream_kind"),
                },
            ),
            Panel(
                "Presence",
                "cps",
                {
                    "reports {{outcome}}": _rate("palaver_presence_reports_total", "outcome"),
                    "changes heard": _rate("palaver_presence_changes_heard_total"),
                    "frames": _rate("palaver_presence_frames_written_total"),
                },
            ),
        ],
    ],
    "messaging": [
        [
            Panel("Messages a second", "cps", {"{{room_type}}": _rate("palaver_messages_sent_total", "room_type")}),
            Panel(
                "Commands refused a second",
                "cps",
                {"{{method}} {{error}}": _rate("palaver_commands_refused_total", "method, error")},
            ),
        ],
        [
            Panel(
                "Calls answered, p99",
                "s",
                {"{{service}} {{method}}": _quantile("palaver_rpc_answer_seconds", "service, method")},
            ),
            Panel(
                "Calls answered a second",
                "reqps",
                {"{{service}} {{code}}": _rate("palaver_rpc_answer_seconds_count", "service, code")},
            ),
        ],
        [
            Panel(
                "Calls to the database, p99", "s", {"{{operation}}": _quantile("palaver_database_seconds", "operation")}
            ),
            Panel(
                "Calls to the database a second",
                "cps",
                {
                    "{{operation}}": _rate("palaver_database_seconds_count", "operation"),
                    "not answered: {{operation}}": _rate("palaver_database_failures_total", "operation"),
                },
            ),
        ],
        [
            Panel(
                "Commands without an outcome yet", "short", {"{{pod}}": "sum by (pod) (palaver_commands_waiting{$w})"}
            ),
            Panel(
                "Commits decided again",
                "cps",
                {"{{stream_kind}}": _rate("palaver_commit_conflicts_total", "stream_kind")},
            ),
        ],
        [
            Panel(
                "Logins",
                "cps",
                {"{{type}} {{outcome}}": _rate("palaver_logins_attempted_total", "type, outcome")},
            ),
            Panel(
                "SQLite (size single)",
                "short",
                {"writes waiting": "sum(palaver_sqlite_works_waiting{$w})"},
            ),
        ],
    ],
    "events": [
        [
            Panel(
                "Age of the oldest untold event",
                "s",
                {
                    "{{pod}}": "max by (pod) (palaver_outbox_age_seconds{$w})",
                    "left by a process": "max(palaver_outbox_left_age_seconds{$w})",
                },
            ),
            Panel("Publishing a batch, p99", "s", {"{{pod}}": _quantile("palaver_log_publish_seconds", "pod")}),
        ],
        [
            Panel("Events behind", "short", {"{{follower}}": "sum by (follower) (palaver_follower_events_behind{$w})"}),
            Panel(
                "Oldest event under way",
                "s",
                {"{{follower}}": "max by (follower) (palaver_follower_oldest_seconds{$w})"},
            ),
        ],
        [
            Panel(
                "Events a second",
                "cps",
                {
                    "{{follower}} handled": _rate("palaver_follower_events_handled_total", "follower"),
                    "{{follower}} tried again": _rate("palaver_follower_events_retried_total", "follower"),
                    "{{follower}} dead": _rate("palaver_follower_events_dead_total", "follower"),
                },
            ),
            Panel(
                "Partitions",
                "short",
                {"{{follower}} {{pod}}": "sum by (follower, pod) (palaver_follower_partitions{$w})"},
            ),
        ],
        [
            Panel(
                "Answers of NATS, p99", "s", {"{{connection}}": _quantile("palaver_nats_reply_seconds", "connection")}
            ),
            Panel(
                "NATS: what went wrong",
                "cps",
                {
                    "{{connection}} made anew": _rate("palaver_nats_reconnects_total", "connection"),
                    "{{connection}} no answer": _rate("palaver_nats_replies_missed_total", "connection"),
                    "batches not taken": _rate("palaver_log_publish_failures_total"),
                },
            ),
        ],
        [
            Panel("Gateways that follow the log", "short", {"{{pod}}": "min by (pod) (palaver_log_current{$w})"}),
            Panel(
                "Done for somebody who could not",
                "cps",
                {
                    "swept: {{what}}": _rate("palaver_events_swept_total", "what"),
                    "refilled": _rate("palaver_log_events_refilled_total"),
                    "read from the database: {{follower}}": _rate("palaver_follower_events_missed_total", "follower"),
                },
            ),
        ],
    ],
    "operator": [
        [
            Panel("Pods wanted", "short", {"{{role}}": "max by (role) (palaver_operator_pods_wanted{$w})"}),
            Panel("Pods that answer", "short", {"{{role}}": "count by (role) (up{$w} == 1)"}),
        ],
        [
            Panel(
                "What sizes are decided by",
                "short",
                {"{{role}} {{signal}}": "max by (role, signal) (palaver_operator_scaling_input{$w})"},
            ),
            Panel(
                "Changes of size in an hour, all workspaces",
                "short",
                {
                    "{{role}} {{direction}}": "sum by (role, direction) "
                    "(increase(palaver_operator_roles_scaled_total[1h]))"
                },
            ),
        ],
        [
            Panel(
                "Reconciles a second, all workspaces",
                "cps",
                {
                    "{{outcome}}": "sum by (outcome) "
                    "(rate(palaver_operator_reconciles_finished_total[$__rate_interval]))"
                },
            ),
            Panel(
                "How long they take, p99, all workspaces",
                "s",
                {
                    "p99": "histogram_quantile(0.99, sum by (le) "
                    "(rate(palaver_operator_reconcile_seconds_bucket[$__rate_interval])))"
                },
            ),
        ],
        [
            Panel(
                "What is wrong",
                "short",
                {
                    "degraded": "max(palaver_operator_workspace_degraded{$w})",
                    "a backup is missing": "max(palaver_operator_backup_missing{$w})",
                    "the last backup failed": "max(palaver_operator_backup_failed{$w})",
                },
            ),
            Panel(
                "Objects written a second, all workspaces",
                "cps",
                {"{{kind}}": "sum by (kind) (rate(palaver_operator_objects_written_total[$__rate_interval]))"},
            ),
        ],
        [
            Panel("Operators that lead", "short", {"leaders": "sum(palaver_operator_leads)"}),
            Panel(
                "Revisions taken back in a day, all workspaces",
                "short",
                {"taken back": "sum(increase(palaver_operator_rollouts_undone_total[1d]))"},
            ),
        ],
    ],
}
