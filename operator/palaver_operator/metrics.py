"""The operator's own metrics, on its health port."""

from prometheus_client import Counter, Gauge, Histogram

RECONCILES = Counter("palaver_operator_reconciles_finished_total", "Reconciles of workspaces", ["outcome"])
RECONCILE_SECONDS = Histogram(
    "palaver_operator_reconcile_seconds",
    "Time of one reconcile, waiting for the API server included",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15),
)
OBJECTS_WRITTEN = Counter("palaver_operator_objects_written_total", "Objects created, applied or deleted", ["kind"])
BACKUP_MISSING = Gauge(
    "palaver_operator_backup_missing",
    "1 while no backup has been completed that was due six hours ago",
    ["namespace", "workspace"],
)
BACKUP_FAILED = Gauge(
    "palaver_operator_backup_failed", "1 while the newest backup that ended has failed", ["namespace", "workspace"]
)
WORKSPACES = Gauge("palaver_operator_workspaces", "Workspaces that this operator looks after")
BACKUPS = Gauge("palaver_operator_backups", "Backups that are not finished")
BACKUPS_FINISHED = Counter("palaver_operator_backups_finished_total", "Backups that came to an end", ["outcome"])
LEADS = Gauge("palaver_operator_leads", "1 in the replica that works, 0 in those that wait")
PODS_WANTED = Gauge("palaver_operator_pods_wanted", "Pods that a role is to have", ["namespace", "workspace", "role"])
ROLES_SCALED = Counter(
    "palaver_operator_roles_scaled_total", "Decisions to change a role's size", ["role", "direction"]
)
SCALING_INPUT = Gauge(
    "palaver_operator_scaling_input",
    "What a role's size is decided by: loads, and pods that are needed",
    ["namespace", "workspace", "role", "signal"],
)
DEGRADED = Gauge("palaver_operator_workspace_degraded", "1 while something is wrong", ["namespace", "workspace"])
CERTIFICATE_END = Gauge(
    "palaver_operator_certificate_end_timestamp_seconds",
    "When the first of the certificates ends by which the processes of a workspace know each other",
    ["namespace", "workspace"],
)
ROLLBACKS = Counter("palaver_operator_rollouts_undone_total", "Revisions that failed and were taken back")


def forget(namespace: str, workspace: str) -> None:
    """A workspace that is gone has no figures."""
    for gauge in (PODS_WANTED, SCALING_INPUT, DEGRADED, CERTIFICATE_END, BACKUP_MISSING, BACKUP_FAILED):
        for labels in [labels for labels in gauge._metrics if labels[:2] == (namespace, workspace)]:
            gauge.remove(*labels)
