"""The lesson of `mtls-echo demo`: chapters that build on each other, for a terminal and a page."""
