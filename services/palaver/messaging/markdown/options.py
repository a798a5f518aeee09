"""What the markup has beyond the language that every workspace speaks: each is a choice of the administrators."""

from typing import NamedTuple


class Options(NamedTuple):
    """Which of the optional markup counts. Without a word, none of it does."""

    colors: bool = False  # color:#ff0000
    emoticons: bool = False  # :-)
    dollar_formulas: bool = False  # $x$ and $$x$$
    parenthesis_formulas: bool = False  # \(x\) and \[x\]
    custom_domains: frozenset[str] = frozenset()  # which addresses may have besides the public ones, in lower case


NOTHING = Options()
