"""What a subject may look like, and who in this process has subscribed to which. Used by both adapters of `live`."""

import logging
import re

from prometheus_client import Counter

from palaver.live import OnMessage

logger = logging.getLogger(__name__)

SUBSCRIBER_ERRORS = Counter(
    "palaver_live_subscriber_errors_total", "Messages that a subscriber in this process failed on"
)

_TOKENS = re.compile(r"[^\s.*>]+(\.[^\s.*>]+)*")


def check_subject(subject: str) -> None:
    """Raises ValueError unless it is dotted tokens: what came from outside goes through `ids.encode_subject_token`."""
    if not _TOKENS.fullmatch(subject):
        raise ValueError(f"not a subject: {subject!r}")


def check_pattern(subject: str) -> None:
    """The same for what is subscribed to: the last token may be `>`."""
    if subject != ">":
        check_subject(subject.removesuffix(".>"))


def is_below(key: str, prefix: str) -> bool:
    """Whether a dotted key is the prefix or lies below it. Everything lies below the empty prefix."""
    return not prefix or key == prefix or key.startswith(prefix + ".")


def tell(on_message: OnMessage, subject: str, message: bytes) -> None:
    """Calls one subscriber; its error is its own: logged, counted, and nobody else's concern."""
    try:
        on_message(message)
    except Exception:
        SUBSCRIBER_ERRORS.inc()
        logger.exception("a subscriber failed on a message of %s", subject)
