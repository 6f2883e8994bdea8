"""What one client may take of the HTTP server; docs/web-config.md lists it."""

MAX_CONNECTIONS = 64
BACKLOG = 128  # connections that wait to be accepted
MAX_REQUEST_LINE = 8 << 10  # bytes
MAX_REQUEST_HEAD = 32 << 10  # bytes, request line and headers together
MAX_HEADERS = 100
MAX_BODY = 64 << 10  # bytes
HANDSHAKE_TIMEOUT = 10.0  # this and those below in seconds
REQUEST_TIMEOUT = 10.0  # from the first byte of a request to the end of its headers; for the first byte of all, too
BODY_TIMEOUT = 10.0  # for all of a request's body
IDLE_TIMEOUT = 120.0  # between two requests: above the usual scrape intervals, so that scrapes share a connection
ANSWER_TIMEOUT = 30.0
LINGER_TIMEOUT = 1.0
STOP_TIMEOUT = 5.0
