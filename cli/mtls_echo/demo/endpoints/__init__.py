"""`mtls-echo demo --endpoints`: four servers, and one client that watches them."""
