"""Pure rules: what a client's User-Agent says of the device that it runs on. Called by sessions.py.

Enough to tell one's phone from one's laptop in a list; whoever writes the header decides what it says.
"""

import re

from palaver.database import Document

_SYSTEMS = (
    ("iOS", re.compile(r"(?:iPhone|iPad|iOS)[^)]*?(?:OS |iOS |v)(\d+(?:[._]\d+)*)")),
    ("Android", re.compile(r"Android[ /;v]*(\d+(?:\.\d+)*)?")),
    ("Windows", re.compile(r"Windows(?: NT)? ?(\d+(?:\.\d+)*)?")),
    ("macOS", re.compile(r"Mac ?OS ?X? ?(\d+(?:[._]\d+)*)?")),
    ("Linux", re.compile(r"Linux()")),
)
# The first that matches: most of them call themselves by their ancestors' names, too.
_PROGRAMS = (
    ("mobile-app", "Rocket.Chat Mobile", re.compile(r"RC Mobile;[^)]*?; v(\d+(?:\.\d+)*)")),
    ("desktop-app", "Rocket.Chat Desktop", re.compile(r"Rocket\.Chat/(\d+(?:\.\d+)*).*Electron")),
    ("browser", "Edge", re.compile(r"Edg(?:e|A|iOS)?/(\d+(?:\.\d+)*)")),
    ("browser", "Opera", re.compile(r"OPR/(\d+(?:\.\d+)*)")),
    ("browser", "Firefox", re.compile(r"(?:Firefox|FxiOS)/(\d+(?:\.\d+)*)")),
    ("browser", "Chrome", re.compile(r"(?:Chrome|CriOS)/(\d+(?:\.\d+)*)")),
    ("browser", "Safari", re.compile(r"Version/(\d+(?:\.\d+)*).*Safari/")),
)
_OTHER = re.compile(r"([A-Za-z][\w.-]{0,40})/?(\d+(?:\.\d+)*)?")
_MAX_READ = 300


def describe_device(user_agent: str) -> Document:
    """Type, name, versions and operating system; `unknown` where nothing is said."""
    text = user_agent[:_MAX_READ]
    system: Document = {"name": "", "version": ""}
    for name, pattern in _SYSTEMS:
        if found := pattern.search(text):
            system = {"name": name, "version": (found[1] or "").replace("_", ".")}
            break
    for type, name, pattern in _PROGRAMS:
        if found := pattern.search(text):
            return _device(type, name, found[1], system)
    other = _OTHER.match(text)
    return _device("unknown", other[1], other[2] or "", system) if other else _device("unknown", "", "", system)


def _device(type: str, name: str, version: str, system: Document) -> Document:
    return {
        "type": type,
        "name": name,
        "version": ".".join(version.split(".")[:2]),
        "longVersion": version,
        "os": system,
    }
