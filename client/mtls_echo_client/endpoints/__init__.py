"""One client and many servers, each group of them with TLS settings of its own.

Three parts share nothing but the `plan`. The *configuration* is read strictly and says what was
meant (:mod:`~mtls_echo_client.endpoints.configuration`); *discovery* makes a plan of it, anew
whenever a file or a name changes (:mod:`~mtls_echo_client.endpoints.planner`); the *monitor*
keeps to the plan, and re-dials only what has changed in it
(:mod:`~mtls_echo_client.endpoints.monitor`).
"""
