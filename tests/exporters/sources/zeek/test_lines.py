"""Chunks, cut into pieces."""

from hypothesis import given
from hypothesis import strategies as st

from dnsvigil.sources.zeek.lines import Chunk, pieces


@given(st.binary(max_size=200).map(lambda body: body.replace(b"\0", b"\n")), st.integers(1, 40))
def test_pieces_are_whole_lines_of_at_least_a_size(body: bytes, size: int) -> None:
    found = [piece.body for piece in pieces(Chunk(body, None), size)]
    assert b"".join(found) == body
    assert all(piece.endswith(b"\n") and len(piece) >= size for piece in found[:-1])
    assert all(len(piece) <= size + max(map(len, body.split(b"\n"))) + 1 for piece in found[:-1])
    assert len(found) == 1 or found[-1]
