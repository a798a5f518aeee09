"""Previews of links: what a page says of itself (`page.py`), fetched as the settings let it be (`fetching.py`)."""
