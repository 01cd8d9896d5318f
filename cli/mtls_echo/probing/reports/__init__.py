"""The result of a probe, for people, for programs and for CI servers."""
