"""What viewers share: it is made once, and nobody waits for it to be made anew."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from dnsvigil.web import recent
from dnsvigil.web.recent import Recent


def test_many_viewers_cost_what_one_does(monkeypatch):
    kept, made, may_end, begun = Recent(), [], threading.Event(), threading.Event()

    def make() -> int:
        made.append(len(made))
        begun.set()
        may_end.wait(20)
        return made[-1]

    with ThreadPoolExecutor(8) as pool:
        first = [pool.submit(kept.of, "now", make) for _ in range(8)]
        begun.wait(20)
        may_end.set()
        assert {each.result(20) for each in first} == {0}
        assert kept.of("now", make) == 0
        monkeypatch.setattr(recent, "_SECONDS", 0.0)
        may_end.clear()
        begun.clear()
        anew = pool.submit(kept.of, "now", make)
        begun.wait(20)
        assert kept.of("now", make) == 0, "the last one, while it is made anew"
        may_end.set()
        assert anew.result(20) == 1
        assert kept.of("other", lambda: "x") == "x"


def test_a_failure_is_not_kept():
    kept = Recent()
    for answer in (0, 1):
        try:
            kept.of("now", lambda: 1 // answer)  # noqa: B023
        except ZeroDivisionError:
            assert answer == 0
    assert kept.of("now", lambda: 7) == 1
