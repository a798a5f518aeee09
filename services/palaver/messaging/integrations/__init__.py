"""Integrations: what lets other programs into rooms, and what tells them of what happens there.

`catalogue.py` keeps them, `incoming.py` lets those post that know an integration's token. `rules.py` is pure.
"""
