"""The messaging service: rooms, members, messages. `role.py` is its API, `rules.py` what it holds true."""
