"""What a REST endpoint and its DDP twin share, one file an area: functions of a `Call` and typed parameters."""
