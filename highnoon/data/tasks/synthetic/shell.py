"""Synthetic sentences and shell commands."""

from __future__ import annotations

import random
from collections.abc import Callable

from highnoon.data.tasks.synthetic.words import (
    EXTENSIONS,
    FIRST_NAMES,
    NOUNS,
    file_name,
    file_stem,
    folder_path,
)

Pair = tuple[str, str]

_WHERE = ("in {0}", "under {0}", "in the folder {0}", "below {0}", "of the directory {0}")
_SIZES = (("k", "kilobytes"), ("M", "megabytes"), ("G", "gigabytes"))


def shell_record(rng: random.Random) -> dict[str, str]:
    """Returns a record with `instruction`, a sentence, and `response`, a command that does it."""
    asked, command = rng.choice(_FORMS)(rng)
    asked = asked[0].upper() + asked[1:]
    return {"instruction": asked + rng.choice(("", ".")), "response": command}


def _where(rng: random.Random) -> Pair:
    """Returns words for a folder, and its path."""
    if rng.random() < 0.25:
        return rng.choice(("in the current directory", "here", "in this folder")), "."
    folder = folder_path(rng)
    return rng.choice(_WHERE).format(folder), folder


def _find(rng: random.Random) -> Pair:
    where, folder = _where(rng)
    what, test = rng.choice((("files", "-type f "), ("directories", "-type d "), ("everything", "")))
    tests, words = [], []
    if rng.random() < 0.7:
        end = rng.choice(EXTENSIONS)
        words.append(rng.choice((f"with the extension .{end}", f"ending in .{end}", f"named *.{end}")))
        tests.append(f'-name "*.{end}"')
    else:
        name = file_name(rng)
        words.append(rng.choice((f"named {name}", f"called {name}")))
        tests.append(f"-name {name}")
    if rng.random() < 0.4:
        days = rng.randrange(2, 60)
        is_recent = rng.random() < 0.5
        words.append(f"modified {'less' if is_recent else 'more'} than {days} days ago")
        tests.append(f"-mtime {'-' if is_recent else '+'}{days}")
    if test == "-type f " and rng.random() < 0.4:
        number, (unit, long_unit) = rng.randrange(1, 200), rng.choice(_SIZES)
        words.append(f"larger than {number} {long_unit}")
        tests.append(f"-size +{number}{unit}")
    verb = rng.choice(("find", "list", "search for", "show", "locate"))
    act, action = rng.choice(
        (("", ""), ("", ""), (" and delete them", " -delete"), (" and print details", " -ls"))
    )
    return (
        f"{verb} {what} {where} {' and '.join(words)}{act}",
        f"find {folder} {test}{' '.join(tests)}{action}",
    )


def _grep(rng: random.Random) -> Pair:
    word, flags, more = rng.choice(NOUNS), "", ""
    if rng.random() < 0.5:
        where, target = _where(rng)
        flags, where = "r", f"in all files {where}"
    else:
        target = file_name(rng)
        where = f"in {target}"
    if rng.random() < 0.4:
        flags, more = f"{flags}i", more + " ignoring case"
    verb = rng.choice(("search for", "print lines with", "find", "show every line containing"))
    if rng.random() < 0.3:
        flags, verb = f"{flags}c", "count the lines that contain"
    elif rng.random() < 0.3:
        flags, more = f"{flags}n", more + " with line numbers"
    options = f" -{flags}" if flags else ""
    return f'{verb} "{word}" {where}{more}', f'grep{options} "{word}" {target}'


def _copy_or_move(rng: random.Random) -> Pair:
    target = folder_path(rng)
    name = file_name(rng) if rng.random() < 0.6 else f"*.{rng.choice(EXTENSIONS)}"
    said = f"all {name[1:]} files" if name.startswith("*") else name
    if rng.random() < 0.5:
        return f"{rng.choice(('copy', 'make a copy of'))} {said} {rng.choice(('to', 'into'))} {target}", (
            f"cp {name} {target}"
        )
    return (
        f"{rng.choice(('move', 'transfer'))} {said} {rng.choice(('to', 'into'))} {target}",
        f"mv {name} {target}",
    )


def _folder(rng: random.Random) -> Pair:
    folder = folder_path(rng)
    asked, command = rng.choice(
        (
            ("create the directory {0} with its parents", "mkdir -p {0}"),
            ("make a folder {0}", "mkdir {0}"),
            ("remove the folder {0} and all that is in it", "rm -r {0}"),
            ("list all files in {0} with details", "ls -l {0}"),
            ("show hidden files in {0}", "ls -a {0}"),
            ("print the size of the folder {0}", "du -sh {0}"),
            ("list {0} sorted by time", "ls -lt {0}"),
            ("change to the directory {0}", "cd {0}"),
        )
    )
    return asked.format(folder), command.format(folder)


def _lines(rng: random.Random) -> Pair:
    name, count, column = file_name(rng), rng.randrange(2, 60), rng.randrange(1, 9)
    asked, command = rng.choice(
        (
            ("print the first {1} lines of {0}", "head -n {1} {0}"),
            ("show the last {1} lines of {0}", "tail -n {1} {0}"),
            ("count the lines of {0}", "wc -l {0}"),
            ("count the words in {0}", "wc -w {0}"),
            ("sort {0} and drop duplicate lines", "sort {0} | uniq"),
            ("sort {0} by number in reverse order", "sort -nr {0}"),
            ("print column {2} of {0}", "awk '{{print ${2}}}' {0}"),
            ("print field {2} of the comma separated file {0}", "cut -d, -f{2} {0}"),
            ("print line {1} of {0}", "sed -n '{1}p' {0}"),
            ("count how often each line of {0} occurs", "sort {0} | uniq -c"),
            ("show the {1} most frequent lines of {0}", "sort {0} | uniq -c | sort -nr | head -n {1}"),
        )
    )
    return asked.format(name, count, column), command.format(name, count, column)


def _replace(rng: random.Random) -> Pair:
    old, new = rng.sample(NOUNS, 2)
    name = file_name(rng)
    asked = rng.choice(('replace "{0}" with "{1}" in {2}', 'change every "{0}" to "{1}" in the file {2}'))
    return asked.format(old, new, name), f"sed -i 's/{old}/{new}/g' {name}"


def _rights(rng: random.Random) -> Pair:
    name = file_name(rng)
    if rng.random() < 0.4:
        owner = rng.choice(FIRST_NAMES).lower()
        return f"make {owner} the owner of {name}", f"chown {owner} {name}"
    asked, mode = rng.choice(
        (
            ("make {0} executable", "+x"),
            ("allow everyone to read {0}", "a+r"),
            ("remove write permission from {0}", "-w"),
            ("let only the owner read and write {0}", "600"),
            ("set the permissions of {0} to 755", "755"),
        )
    )
    return asked.format(name), f"chmod {mode} {name}"


def _archive(rng: random.Random) -> Pair:
    folder, stem = folder_path(rng), file_stem(rng)
    asked, command = rng.choice(
        (
            ("pack {0} into the archive {1}.tar.gz", "tar -czf {1}.tar.gz {0}"),
            ("extract {1}.tar.gz into {0}", "tar -xzf {1}.tar.gz -C {0}"),
            ("list the contents of {1}.tar.gz", "tar -tzf {1}.tar.gz"),
            ("zip the folder {0} as {1}.zip", "zip -r {1}.zip {0}"),
            ("compress {1}.log with gzip", "gzip {1}.log"),
        )
    )
    return asked.format(folder, stem), command.format(folder, stem)


def _processes(rng: random.Random) -> Pair:
    word, number = rng.choice(NOUNS), rng.randrange(100, 32768)
    asked, command = rng.choice(
        (
            ("show the processes named {0}", "ps aux | grep {0}"),
            ("end the process {1}", "kill {1}"),
            ("end all processes named {0}", "pkill {0}"),
            ("print the process ids of {0}", "pgrep {0}"),
            ("wait {1} seconds", "sleep {1}"),
        )
    )
    return asked.format(word, number), command.format(word, number)


def _loop(rng: random.Random) -> Pair:
    end, where = rng.choice(EXTENSIONS), folder_path(rng)
    asked, command = rng.choice(
        (
            ("print the name of each .{0} file in {1}", 'for f in {1}/*.{0}; do echo "$f"; done'),
            ("count the lines of each .{0} file in {1}", 'for f in {1}/*.{0}; do wc -l "$f"; done'),
            ("count the .{0} files in {1}", 'find {1} -name "*.{0}" | wc -l'),
            ("delete all .{0} files in {1}", 'find {1} -name "*.{0}" -exec rm {{}} \\;'),
            ("search all .{0} files in {1} for errors", 'find {1} -name "*.{0}" | xargs grep error'),
        )
    )
    return asked.format(end, where), command.format(end, where)


_FORMS: tuple[Callable[[random.Random], Pair], ...] = (
    _find,
    _find,
    _find,
    _grep,
    _grep,
    _copy_or_move,
    _folder,
    _lines,
    _lines,
    _replace,
    _rights,
    _archive,
    _processes,
    _loop,
)
