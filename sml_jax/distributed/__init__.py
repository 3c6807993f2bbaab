"""Membership of processes: joining, heartbeats, agreement, and the end of a run when one is lost."""
