"""Runs of several processes: joining them, passing values between them, and ending all when one is lost."""
