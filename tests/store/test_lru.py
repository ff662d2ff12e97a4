"""The cache that threads share: what was used longest ago goes first, and no step is half done."""

import threading

import pytest

from store import LRU


def test_what_was_used_longest_ago_makes_room():
    cache = LRU(2)
    assert cache.put("a", 1) == []
    assert cache.put("b", 2) == []
    assert cache.get("a") == 1
    assert cache.put("c", 3) == [2]
    assert [cache.get(name) for name in "abc"] == [1, None, 3]
    assert (cache.hits, cache.misses, cache.evictions) == (3, 1, 1)
    assert len(cache) == 2


def test_a_new_value_of_a_key_takes_the_place_of_the_one_before_and_gives_it_back():
    cache = LRU(2)
    cache.put("a", [1])
    assert cache.put("a", [2]) == [[1]]
    assert cache.items() == [("a", [2])]
    assert cache.evictions == 0


def test_looking_at_all_of_it_counts_as_no_use():
    cache = LRU(2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.values() == [1, 2]
    assert "a" in cache
    assert cache.put("c", 3) == [1]
    assert cache.pop("b") == 2
    assert cache.pop("b") is None


def test_what_cannot_be_made_is_not_kept_and_nobody_else_waits_for_it():
    cache = LRU(2)
    with pytest.raises(OSError, match="gone"):
        cache.get_or_make("a", lambda: (_ for _ in ()).throw(OSError("gone")))
    assert cache.get_or_make("a", lambda: cache.get_or_make("b", lambda: 2) + 1) == 3
    assert cache.values() == [2, 3]


def test_two_threads_that_make_the_same_value_get_the_one_that_was_there_first():
    cache = LRU(2)
    both_make = threading.Barrier(2, timeout=10)
    got = []

    def ask():
        def make():
            both_make.wait()
            return object()

        got.append(cache.get_or_make("a", make))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got[0] is got[1] is cache.get("a")


def test_a_cache_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        LRU(0)
