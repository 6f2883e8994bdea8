"""The limits of the HTTP server; docs/web-config.md lists them."""

MAX_CONNECTIONS = 64
BACKLOG = 128  # connections waiting to be accepted
MAX_REQUEST_LINE = 8 << 10  # bytes
MAX_REQUEST_HEAD = 32 << 10  # bytes, request line and headers together
MAX_HEADERS = 100
MAX_BODY = 1 << 20  # bytes
HANDSHAKE_TIMEOUT = 10.0  # this and those below in seconds
REQUEST_TIMEOUT = (
    10.0  # from the first byte of a request to the end of its headers; also for the first byte of a connection
)
BODY_TIMEOUT = 10.0  # for all of a request's body
IDLE_TIMEOUT = 120.0  # between two requests: longer than usual scrape intervals, so that scrapes share a connection
RESPONSE_TIMEOUT = 30.0
LINGER_TIMEOUT = 1.0
STOP_TIMEOUT = 5.0
