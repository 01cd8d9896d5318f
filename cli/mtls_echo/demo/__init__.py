"""`mtls-echo demo`: the lesson, both ends in one terminal."""
