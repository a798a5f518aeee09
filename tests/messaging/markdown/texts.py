"""Random texts that are hard on a parser: signs of markup, and what people write, put together at random."""

import random
import re
from collections.abc import Iterator

from palaver.messaging.markdown import NOTHING, Options

# The parts of each kind of text, parted by "¦".
_PARTS = {
    "markup": "a¦@¦#¦:¦.¦b¦_¦*¦ ¦`¦|¦||¦/¦[¦]¦(¦)¦](¦\n¦<¦>¦!¦org¦x.org¦~¦-",
    "emphasis": "*¦_¦~¦**¦__¦~~¦a¦b1¦ ¦*¦_¦~¦||¦`¦@u¦.¦[t](x.y)",
    "emoji": ":a:¦ ¦a¦😀¦❤¦👍¦🏽¦\u200d¦\ufe0f¦*¦_¦@b¦.¦\n¦\\¦🇩¦+12345¦é¦日",
    "links": "[¦]¦] [¦(¦)¦](¦a¦x.org¦http://¦:¦+49¦/¦|¦<¦>¦!¦![¦ ¦\\¦_¦*¦.¦-¦1¦](x.y)¦|b>¦\n¦mailto:a@b.c",
    "blocks": (
        "- ¦* ¦> ¦>¦1. ¦- [ ] ¦- [x] ¦# ¦#¦\n¦\n\n¦```¦||¦||\n¦\n||¦a¦*¦_b_¦ ¦`¦b:¦\t¦:a:¦😀¦1¦.¦```\n¦\n```¦"
        "```js\n¦\n> ¦\n- ¦\n2. "
    ),
    "talk": (
        "hello ¦*bold*¦ world¦_it_¦@john¦#general¦ ¦see https://x.org/a?b=1#c¦.¦,¦!¦(¦)¦`code`¦\n¦- item¦"
        "1. one¦> quote¦:smile:¦😀¦foo@x.org¦||sp||¦~s~¦**¦__¦\\*¦<http://x.org|t>¦[t](http://y.org)¦"
        "<t:1700000000:R>¦don't¦snake_case¦a/b¦x.py¦1.2.3¦e.g.¦C:\\dir\\f¦$x^2$¦+49123456789¦etc...¦->¦=>¦10%¦"
        '&¦"q"¦日本¦é¦localhost:3000/x¦ ¦color:#ff0000¦$$y$$¦\\(z\\)¦привет ¦I ¦the ¦readme.md¦@all¦@here¦Так ¦'
        "\r\n¦👨\u200d👩\u200d👧"
    ),
    "web": (
        "http://¦x.org¦a¦@¦:¦/¦?¦#¦.¦-¦_¦80¦co.uk¦ ¦!¦,¦(¦)¦%¦zzz¦localhost¦127.0.0.1¦://¦*¦é¦[¦]¦+¦=¦~¦|¦www.¦"
        ".рф¦.bd¦github.io¦{¦^"
    ),
    "mail": "a¦@¦x.org¦.¦mailto:¦-¦_¦+¦!¦*¦ ¦b¦#¦/¦zzz¦é¦😀¦`¦(¦)¦:¦~¦{¦=",
    "moments": (
        "<t:¦1700000000¦:R>¦>¦2024-01-01¦T¦10:00¦:00¦.123¦+01:00¦-02:30¦Z¦:t¦a¦ ¦*¦~¦_¦||¦<¦1¦"
        "<t:2024-02-30T10:00:00¦<t:1700000000>"
    ),
    "phones": "+¦4912345¦1¦(¦)¦-¦12¦a¦ ¦_¦*¦.¦😀¦[a](¦+49123456¦)¦<¦|a>¦@b¦+49",
    "escapes": "\\¦*¦_¦~¦`¦#¦.¦a¦b¦ ¦@b¦|¦||¦x.org¦-¦\n¦!¦[¦](x.y)",
    "spoilers": "||¦|¦a¦*¦_¦~¦`¦ ¦\n¦x.org¦@b¦:a:¦[a](x.y)¦m@x.org¦||\n¦\n||¦😀¦b¦> ",
    "emoticons": (
        ":)¦:*¦-_-¦*)¦<3¦>:(¦D:¦8)¦(y)¦#)¦#-)¦:\\¦*\\0/*¦:D¦O_O¦ ¦*¦_¦~¦||¦a¦:a:¦😀¦@b¦x.org¦\n¦`c`¦!¦\\¦[a](x.y)¦"
        "+1¦+12345¦é¦- ¦* ¦> "
    ),
    "formulas": (
        "$¦$$¦\\(¦\\)¦\\[¦\\]¦a¦ ¦\n¦*¦_¦~¦||¦@b¦#c¦x.org¦:a:¦😀¦a@x.org¦[a](x.y)¦- ¦* ¦> ¦# ¦```¦`¦||\n¦\n||¦"
        "[¦](x.y)¦:)¦+12345¦\\"
    ),
    "colors": ("color:#f00¦color:#¦color¦:¦#¦ff00aa¦f0f¦1¦a¦ ¦.¦)¦(¦*¦_¦~¦||¦\n¦@b¦:a:¦😀¦[¦](x.y)¦x.org¦`¦:)¦é¦- "),
    "domains": ("x.zzz¦corp.example1¦.¦zzz¦a¦/¦:¦@¦http://¦-¦_¦ ¦(¦)¦x.org¦corp.¦é¦80¦?b¦#c¦:)¦*"),
}
_LONGEST = 14
# A workspace as it is, one with everything, one with nothing, and what the options do alone.
EVERYTHING = Options(
    colors=True,
    emoticons=True,
    dollar_formulas=True,
    parenthesis_formulas=True,
    custom_domains=frozenset({"zzz", "corp.example1"}),
)
_OPTIONS = (
    Options(colors=True, emoticons=True, parenthesis_formulas=True),
    EVERYTHING,
    NOTHING,
    Options(emoticons=True),
    Options(dollar_formulas=True),
    Options(colors=True, custom_domains=EVERYTHING.custom_domains),
)

# What is parsed otherwise on purpose (see the package), and where the other parser is of two minds.
_OTHERWISE = re.compile(
    r"xn--"  # punycode is not checked
    r"|:/*[^ \n]*\d[^ \n/]*(?:\.[^ \n/]*\d[^ \n/]*){3}"  # nor whether four numbers are an IPv4 address
    r"|<t:\d\d:\d\d(?::\d\d)?[+-]"  # a time of today
    r"|localhost_|//localhost[^ \n]*@|:/*@"  # users without a name, and users at this computer
    r"|[.@][bB][dD]"  # a top-level domain that took no hosts right below it when the other's list was made
    r"|[_\-]\)"  # a closing bracket in a link's target
    r"|\[(?s:.)*\r"  # "\r\n" in a link's label, which is a line's end like any other
    r"|_[^\n]*[:\u2300-\u27bf\U0001f000-\U0001ffff][^\n]*_[0-9A-Za-z]"  # emoji in what turns out not to be italic
)


def is_comparable(text: str) -> bool:
    """Whether both parsers mean to make the same tree of it."""
    return bool(text) and not _OTHERWISE.search(text)


def random_cases(seed: int) -> Iterator[tuple[str, Options]]:
    """Texts, each with what counts in it, without end; the same for the same seed."""
    source = random.Random(seed)
    kinds = [parts.split("¦") for parts in _PARTS.values()]
    while True:
        for parts in kinds:
            chosen = parts if source.random() < 0.75 else parts + source.choice(kinds)
            text = "".join(source.choice(chosen) for _ in range(source.randint(1, _LONGEST)))
            if is_comparable(text):
                yield text, source.choice(_OPTIONS)
