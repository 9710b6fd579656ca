"""
The HTTP API: intake from monitoring on TCP with tokens, commands of this machine's people on a private Unix socket.

Errors have one shape everywhere, the one of `--json`: 400 usage, 503 cannot tell, 403 refused, 409 conflict, 500 a bug.
"""
