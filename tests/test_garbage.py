"""The search for garbage is put off, and comes back whatever happens."""

from __future__ import annotations

import gc

import pytest

from negspace.garbage import no_collection


def test_it_comes_back_after_the_outer_one_and_after_an_error() -> None:
    assert gc.isenabled()
    with no_collection():
        assert not gc.isenabled()
        with no_collection():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(KeyError), no_collection():
        raise KeyError
    assert gc.isenabled()


def test_who_has_switched_it_off_keeps_that() -> None:
    gc.disable()
    try:
        with no_collection():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
