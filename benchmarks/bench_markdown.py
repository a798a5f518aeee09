"""The `md` tree: what a message's markup costs, and that it costs no more in a long text than in a short one."""

import argparse
import time

from harness import Report, main, watching
from palaver.messaging import markdown

_SIZE = 200
_WORDS = (
    "The deployment went fine and everybody is happy with how quickly it was done, so thanks to all of you who helped; "
    "let us meet tomorrow morning at nine (the usual room) and see what is left to do then."
)
_TALK = (
    "Hey @john, the *deploy* went fine :) see https://ci.example.org/builds/17?x=y for more. I have told everybody in "
    "#general about it, they are glad; please run `make test` when you are back, and _thanks_ :tada: again!"
)
_DENSE = (
    "*a* _b_ ~c~ **d** @e #f `g` :h: x.org i@x.org [j](http://x.org) ||k|| +4912345 color:#f00 \\(l\\) :) 😀 *_m_ n* "
    "~*o* p~ ||*q* r|| <http://x.org|s> ![t](http://x.org/t.png) <t:1700000000:R> *u _v_* w* x_ y~ [z *a* b"
)
_HOSTILE = "*_~`[(<|:)"
_OPTIONS = markdown.Options(colors=True, emoticons=True, parenthesis_formulas=True)


def benchmark(given: argparse.Namespace) -> Report:
    report = Report(f"Markup: microseconds of CPU for {_SIZE} characters, with what counts by default")
    characters = 100_000 if given.quick else 1_000_000
    repeated = 300 if given.quick else 3000
    short = 0.0
    with watching(report):
        for name, text, budget in (
            ("plain words", _WORDS, None),
            ("talk with some markup", _TALK, 100),
            ("markup everywhere", _DENSE, None),
            ("signs that come to nothing", _HOSTILE * 20, None),
        ):
            short = _microseconds(text, repeated)
            report.add(f"{name}, a message", short, "µs", budget=budget)
            lines = (text + "\n") * (characters // (len(text) + 1))
            report.add(f"{name}, of a text of {characters:,}", _microseconds(lines, 1), "µs", baseline=short)
        line = _HOSTILE * (characters // len(_HOSTILE))
        report.add(f"{name}, of one line of {characters:,}", _microseconds(line, 1), "µs", baseline=short)
    report.remarks.append("The baseline of a long text is the message: the ratio is one where the time is linear.")
    return report


def _microseconds(text: str, repeated: int) -> float:
    """Of CPU for each 200 characters, the best of three times."""
    best = float("inf")
    for _ in range(3):
        started = time.process_time()
        for _ in range(repeated):
            markdown.parse(text, _OPTIONS)
        best = min(best, time.process_time() - started)
    return 1e6 * best / repeated * _SIZE / len(text)


if __name__ == "__main__":
    main(benchmark, __doc__)
