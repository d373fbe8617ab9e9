"""The part of a script that dies before its n-th call of a function that changes the disk."""

DIE_AFTER = """
import os

def die_after(last, changing):
    calls = 0
    def dying(function):
        def call(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls > last:
                os._exit(9)
            return function(*args, **kwargs)
        return call
    for owner, names in changing:
        for name in names:
            setattr(owner, name, dying(getattr(owner, name)))
"""
