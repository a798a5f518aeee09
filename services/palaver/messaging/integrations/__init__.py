"""Integrations: what lets other programs into rooms, and what tells them of what happens there.

`catalogue.py` keeps them, `incoming.py` lets those post that know an integration's token. `outgoing.py` writes down
what has to be posted to others (`deliveries.py`), `sending.py` posts it. `rules.py` and `triggers.py` are pure.
"""
