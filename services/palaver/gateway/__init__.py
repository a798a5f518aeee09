"""The gateway: connections, and the public surfaces (REST and DDP) over the internal API. No business rules."""
