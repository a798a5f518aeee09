"""The configuration: read once, typed, and refused with the variable's name."""

from pathlib import Path

import pytest

from palaver.config import Config, ConfigError
from palaver.live.nats import NatsLive
from palaver.log.jetstream import JetStreamLog
from palaver.node import build_node
from palaver.roles import ROLES


def test_defaults_need_no_environment() -> None:
    config = Config.from_environment({})
    assert (config.host, config.port, config.data_dir) == ("127.0.0.1", 3000, Path("data"))
    assert config.site_url == "http://localhost:3000"
    assert config.node_id


def test_values_are_typed() -> None:
    config = Config.from_environment(
        {"PALAVER_PORT": "8080", "PALAVER_DATA_DIR": "/srv/x", "PALAVER_TEST_MODE": "1", "PALAVER_DRAIN_SECONDS": "2.5"}
    )
    assert (config.port, config.data_dir, config.test_mode, config.drain_seconds) == (8080, Path("/srv/x"), True, 2.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PALAVER_NATS_URL", "garbage:x:y"),
        ("PALAVER_NATS_URL", "http://127.0.0.1:4222"),
        ("PALAVER_NATS_URL", "nats://one:4222,two:4222"),
        ("PALAVER_NATS_URL", "nats://one:port"),
        ("PALAVER_NATS_REPLICAS", "2"),
        ("PALAVER_MONGODB_URL", "mongo://x"),
        ("PALAVER_PORT", "http"),
        ("PALAVER_TEST_MODE", "perhaps"),
        ("PALAVER_NO_SUCH_THING", "1"),
    ],
)
def test_what_can_not_be_understood_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        Config.from_environment({name: value})


def test_what_jetstream_stores_has_the_replicas_that_are_asked_for(tmp_path: Path) -> None:
    config = Config(data_dir=tmp_path, nats_url="nats://127.0.0.1:4222", nats_replicas=3)
    node = build_node(config, list(ROLES.values()))
    assert isinstance(node.log, JetStreamLog)
    assert isinstance(node.live, NatsLive)
    assert (node.log._replicas, node.live._replicas) == (3, 3)


def test_other_variables_are_nobodys_business() -> None:
    assert Config.from_environment({"HOME": "/root", "PATH": "x"}).port == 3000


S3 = {
    "PALAVER_S3_ENDPOINT": "https://s3.example.org",
    "PALAVER_S3_BUCKET": "uploads",
    "PALAVER_S3_ACCESS_KEY": "key",
    "PALAVER_S3_SECRET_KEY": "secret",
}


def test_uploads_are_kept_in_s3_with_all_of_its_variables() -> None:
    config = Config.from_environment(S3)
    assert (config.s3_endpoint, config.s3_bucket, config.s3_region) == (
        "https://s3.example.org",
        "uploads",
        "us-east-1",
    )


@pytest.mark.parametrize("missing", S3)
def test_half_of_s3_is_refused(missing: str) -> None:
    with pytest.raises(ConfigError, match=f"{missing} missing"):
        Config.from_environment({name: value for name, value in S3.items() if name != missing})


def test_a_prefix_without_s3_is_refused() -> None:
    with pytest.raises(ConfigError, match="PALAVER_S3_ENDPOINT and"):
        Config.from_environment({"PALAVER_S3_PREFIX": "chat"})


def test_the_address_of_s3_is_a_whole_one() -> None:
    with pytest.raises(ConfigError, match="PALAVER_S3_ENDPOINT=s3"):
        Config.from_environment({**S3, "PALAVER_S3_ENDPOINT": "s3.example.org"})


TLS = {name: f"/etc/{name}" for name in ("PALAVER_GRPC_CERTIFICATE", "PALAVER_GRPC_KEY", "PALAVER_GRPC_AUTHORITY")}


@pytest.mark.parametrize("missing", TLS)
def test_half_of_the_certificates_are_refused(missing: str) -> None:
    half = {name: path for name, path in TLS.items() if name != missing}
    with pytest.raises(ConfigError, match=f"^{missing} missing: "):
        Config.from_environment(half)
    with pytest.raises(ConfigError, match=f"^{' and '.join(half)} missing: "):
        Config.from_environment({missing: "/etc/x"})
    assert Config.from_environment(TLS).grpc_key == "/etc/PALAVER_GRPC_KEY"
