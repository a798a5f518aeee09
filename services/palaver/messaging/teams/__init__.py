"""Teams. A team is its main room: its id, name, privacy and members are that room's, and a room of the team names it.

So there is no second list of anything that could fall out of step. What a team's events mean to its other rooms, which
are streams of their own, `following.py` does.
"""
