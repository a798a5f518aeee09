"""Rendezvous hashing: everybody who knows the same replicas sends a key to the same one, without being told.

Each replica has a score for each key; the highest one is responsible. When it is gone, the next highest is: only its
own keys move, and they spread over all that are left. A new one takes its share from each of the others, evenly.
Called by replicas.py.
"""

from collections.abc import Iterable
from hashlib import blake2b


def score(key: str, name: str) -> int:
    """How much this name wants this key: the same in every process, and like a random number otherwise."""
    # The name's length keeps "ab" + "c" and "a" + "bc" apart.
    data = b"%d %b%b" % (len(name), name.encode("utf-8", "surrogatepass"), key.encode("utf-8", "surrogatepass"))
    return int.from_bytes(blake2b(data, digest_size=8).digest())


def choose(key: str, names: Iterable[str]) -> str:
    """The name that is responsible for the key. Raises ValueError for no names."""
    return max(names, key=lambda name: (score(key, name), name))


def rank(key: str, names: Iterable[str]) -> list[str]:
    """All of them, in the order in which they become responsible when those before them are gone."""
    return sorted(names, key=lambda name: (score(key, name), name), reverse=True)
