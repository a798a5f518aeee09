"""The auth service: users, logins, tokens, permissions, roles and settings. `role.py` is its face."""
