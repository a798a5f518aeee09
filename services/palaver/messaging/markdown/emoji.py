"""Emoji: the signs themselves, their short codes, and the emoticons that stand for them."""

import re
from collections.abc import Iterable

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

# Emoticons by the short code of the emoji that they stand for.
_EMOTICONS = {
    "angry": ":@ >:( >:-(",
    "broken_heart": "</3",
    "confused": ":/ :L :\\ =/ =L =\\ :-. :-/ >:/ >:\\",
    "cry": ";( :'( ;-( :'-(",
    "disappointed": ":( :[ =( :-( :-[ >:[",
    "dizzy_face": "#) %) X) #-) %-) X-)",
    "expressionless": "-_- -__- -___-",
    "fearful": "D:",
    "flushed": ":$ =$",
    "heart": "<3",
    "innocent": "0:) 0:3 O:) O:3 O=) 0:-) 0:-3 0;-) 0;^) O:-) O:-3 O;-)",
    "joy": ":') :'-)",
    "kissing_heart": ":* =* :-* :^*",
    "laughing": ">:) >;) >=) >:-)",
    "no_mouth": ":# :X =# =X :-# :-X",
    "open_mouth": ":O :-O >:O O_O",
    "persevere": ">.<",
    "person_gesturing_ok": "\\0/ \\O/ *\\0/* *\\O/*",
    "slight_smile": ":) :] =) =] :-)",
    "smiley": ":D =D :-D",
    "stuck_out_tongue": ":P :b :Þ =P :-P :-b :-Þ",
    "stuck_out_tongue_winking_eye": ">:P X-P",
    "sunglasses": "8) B) 8-) 8-D B-) B-D",
    "sweat": "':( '=( ':-(",
    "sweat_smile": "':) ':D '=) '=D ':-) ':-D",
    "thumbsup": "(y)",
    "wink": "*) ;) ;D ;] *-) ;-) ;-] ;^)",
}
EMOTICONS = {sign: name for name, signs in _EMOTICONS.items() for sign in signs.split()}


def _any_of(signs: Iterable[str]) -> str:
    """The pattern of any of these, the longest that fits. It fails fast where none begins."""
    by_first: dict[str, list[str]] = {}
    for sign in sorted(signs, key=lambda sign: (-len(sign), sign)):
        by_first.setdefault(sign[0], []).append(re.escape(sign[1:]))
    branches = (f"{re.escape(first)}(?:{'|'.join(rest)})" for first, rest in by_first.items())
    firsts = "".join(map(re.escape, by_first))
    return f"(?=[{firsts}])(?:{'|'.join(branches)})"


EMOTICON = re.compile(_any_of(EMOTICONS))
EMOTICON_PLACE = re.compile(f"(?={EMOTICON.pattern})")
# Those that might be words.
WORDY_EMOTICON = _any_of(sign for sign in EMOTICONS if re.fullmatch(r"[0-9A-Za-z'\",;?()/%&=$\-]+[.!:]*", sign))
