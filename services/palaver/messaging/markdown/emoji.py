"""Emoji: the signs themselves, their short codes, and which short codes turn out to be text."""

import re

_JOINING = "[\U0001f300-\U0001f5ff][\ufe00-\ufe0f]?[\U0001f3fb-\U0001f3ff]?"

# Signs of one family join to a person or a group; a joiner without a partner makes text of the whole.
SIGN = re.compile(
    "[\U0001f1e6-\U0001f1ff]{2}"
    f"|(?:{_JOINING}\u200d)*+{_JOINING}"
    "|[\U0001f600-\U0001f64f\U0001f680-\U0001f6fa]"
    "|[\U0001f900-\U0001f9ff][\U0001f3fb-\U0001f3ff]?"
    "|[\u2300-\u23ff\u2600-\u27bf][\ufe00-\ufe0f]?"
)
SHORT_CODE = re.compile(r":([A-Za-z0-9+\-._]+):")
