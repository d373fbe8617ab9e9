"""Generators of synthetic records, one a task: each turns random numbers into a record with variety.

They let every part of a curriculum run on a machine without data. What they write is simple and regular, so
figures on it say nothing about the published data; every name and report of it has the word synthetic.
"""
