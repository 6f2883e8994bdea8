"""Functions of the engine that Ibis has no name for, and those that the configuration defines there."""

import ibis


@ibis.udf.scalar.builtin  # type: ignore[untyped-decorator]
def md5_number_lower(text: str) -> int:  # type: ignore[empty-body]
    """Return 64 bits of the text's MD5, the same in every version and on every machine."""


@ibis.udf.scalar.builtin(name="hash", signature=(("uint64", "uint64"), "uint64"))
def engine_hash(high, low):  # type: ignore[no-untyped-def]
    """Return 64 bits of a hash of the engine's own, which another version may make otherwise."""


@ibis.udf.scalar.builtin(name="hash", signature=(("string",), "uint64"))
def text_hash(text):  # type: ignore[no-untyped-def]
    """Return 64 bits of the engine's hash of a text."""


@ibis.udf.scalar.builtin(signature=(("uint64",), "int8"))
def bit_count(bits):  # type: ignore[no-untyped-def]
    """Return how many bits are set."""


@ibis.udf.scalar.builtin(name="list_distinct", signature=(("array<int64>",), "array<int64>"))
def distinct(values):  # type: ignore[no-untyped-def]
    """Return each value once, in any order, without NULL."""


@ibis.udf.scalar.builtin(name="list_reverse", signature=(("array<string>",), "array<string>"))
def reversed_list(texts):  # type: ignore[no-untyped-def]
    """Return a list the other way round."""


@ibis.udf.agg.builtin(name="min", signature=(("uint64", "int64"), "array<uint64>"))
def smallest(value, count):  # type: ignore[no-untyped-def]
    """Return the ``count`` smallest values."""


@ibis.udf.agg.builtin(name="arg_min", signature=(("string", "uint64", "int64"), "array<string>"))
def texts_of_least(text, value, count):  # type: ignore[no-untyped-def]
    """Return the texts that go with the ``count`` least values."""


@ibis.udf.agg.builtin(name="arg_max", signature=(("string", "int64", "int64"), "array<string>"))
def texts_of_most(text, value, count):  # type: ignore[no-untyped-def]
    """Return the texts that go with the ``count`` greatest values."""


@ibis.udf.scalar.builtin(signature=(("string",), "int64"))
def domain_number(name):  # type: ignore[no-untyped-def]
    """Return the number that a domain has between tables: that of its row.

    On a cluster the number of the task comes first, and rows are in the order of their names, so that a number is the
    same when a lost part is made once more.
    """


# What the configuration, or a list, defines


@ibis.udf.scalar.builtin(signature=(("string",), "boolean"))
def is_ambiguous_top_level(label):  # type: ignore[no-untyped-def]
    """Return whether two labels are not enough to know the domain of a name in this top-level domain."""


@ibis.udf.scalar.builtin(signature=(("string", "string"), "uint64"))
def novelty_hash(kind, text):  # type: ignore[no-untyped-def]
    """Return the 64 bits by which a store knows a text of a kind: the engine's hash, with what is the store's own."""


@ibis.udf.scalar.builtin(signature=(("string",), "uint64"))
def client_pseudonym(client):  # type: ignore[no-untyped-def]
    """Return the 64 bits that stand for a client in the archive: a hash with a key."""


@ibis.udf.scalar.builtin(signature=(("string",), "boolean"))
def is_broadcast(address):  # type: ignore[no-untyped-def]
    """Return whether an address is a broadcast address, of the operator's networks too, and no configured server."""


@ibis.udf.scalar.builtin(signature=(("string",), "boolean"))
def is_flow_broadcast(address):  # type: ignore[no-untyped-def]
    """Return what :func:`is_broadcast` does, for flows, where a configured server is nothing else either."""


@ibis.udf.scalar.builtin(signature=(("uint16",), "string"))
def local_protocol(port):  # type: ignore[no-untyped-def]
    """Return what is asked on a port on which no DNS server listens, NULL for all others."""


@ibis.udf.scalar.builtin(signature=(("string",), "string"))
def failure_of(rcode):  # type: ignore[no-untyped-def]
    """Return the reason of the failures that a response code stands for, NULL where it is none."""


@ibis.udf.scalar.builtin(signature=(("uint16",), "boolean"))
def is_failure(code):  # type: ignore[no-untyped-def]
    """Return whether a query with this response code failed, as :func:`failure_of` says; NULL: it got no answer."""


@ibis.udf.scalar.builtin(signature=((), "int64"))
def max_zone_labels():  # type: ignore[no-untyped-def]
    """Return how many labels the longest configured zone has, 0 where there is none."""


@ibis.udf.scalar.builtin(signature=(("uint64", "uint64"), "boolean"))
def is_own(high, low):  # type: ignore[no-untyped-def]
    """Return whether an address, as two halves of its 128 bits, is in one of the operator's networks."""
