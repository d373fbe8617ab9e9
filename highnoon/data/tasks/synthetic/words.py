"""Words that the generators draw from."""

from __future__ import annotations

import random

FIRST_NAMES = (
    "Ada Amir Anna Ben Bruno Carla Chen Clara Dana David Elif Emma Farid Fatima Felix Grace Hana Hugo Ida "
    "Ivan Jonas Julia Kai Karim Lena Leo Lina Lucas Maja Marco Maria Mateo Mia Nadia Nina Noah Nora Olga "
    "Omar Paul Petra Priya Ravi Rosa Sam Sara Sofia Tariq Theo Tom Vera Yara Yuki Zoe"
).split()
CITIES = (
    "Accra Athens Bergen Berlin Bogota Boston Cairo Chicago Dakar Delhi Denver Dublin Geneva Hanoi "
    "Helsinki Istanbul Jakarta Kyoto Lagos Lima Lisbon London Lyon Madrid Manila Milan Nairobi Oslo Paris "
    "Porto Prague Quito Rome Seoul Sofia Sydney Tokyo Toronto Tunis Vienna Warsaw Zurich"
).split()
ITEMS = (
    "apples bananas batteries books bottles boxes bricks buttons cables candles cards chairs coins "
    "cookies cups eggs envelopes flowers hats jars keys lamps lemons marbles nails notebooks oranges "
    "paints pears pencils pens plates postcards ribbons rolls seeds shells shirts spoons stamps stickers "
    "stones tickets tiles tools"
).split()
ADJECTIVES = (
    "big blue bright brown busy clean cold curious dark early fast gentle golden green happy heavy hidden "
    "kind large light little lonely long loud lucky new noisy old orange proud purple quick quiet red "
    "round shiny short silver simple sleepy slow small soft strong tall tiny warm wet white wild wise "
    "yellow young"
).split()
NOUNS = (
    "account album backup bank basket batch bear bench bird boat bridge budget cache camera castle cat "
    "chart client cloud clock config contract customer data device diary dog door draft engine event farm "
    "field fish forest fox frog garden goat group hill horse house image index invoice island kite lake "
    "letter list log map market memo meeting message model moon mouse note order owl page path payment "
    "photo plan planet pond profile project queue rabbit recipe record region release report request "
    "river road robot room route sample school score sensor server session sheep ship shop signal song "
    "star station stock stone storm summary survey table task teacher team test ticket token tower train "
    "tree update user valley video village wall weather window wind winter"
).split()
EXTENSIONS = (
    "txt log csv json md py sh xml html yaml conf jpg png pdf gz tar zip bak tmp c h java js css".split()
)
FOLDERS = (
    "src docs data logs tmp backup build photos reports scripts tests config music archive downloads "
    "public static cache notes projects"
).split()


def file_stem(rng: random.Random) -> str:
    """Returns a name for a file, such as `red_report7`."""
    first, second = rng.choice(ADJECTIVES), rng.choice(NOUNS)
    joined = rng.choice((second, f"{first}_{second}", f"{first}-{second}", f"{second}_{rng.choice(NOUNS)}"))
    return joined + rng.choice(("", "", "", str(rng.randrange(1, 100))))


def file_name(rng: random.Random) -> str:
    """Returns a name with an extension, such as `red_report7.csv`."""
    return f"{file_stem(rng)}.{rng.choice(EXTENSIONS)}"


def folder_path(rng: random.Random) -> str:
    """Returns a relative or absolute folder, such as `/home/lina/logs`."""
    top = rng.choice(FOLDERS)
    deep = f"{top}/{rng.choice(NOUNS)}"
    return rng.choice(
        (top, deep, f"./{top}", f"/var/{top}", f"/home/{rng.choice(FIRST_NAMES).lower()}/{top}")
    )


def made_up_word(rng: random.Random) -> str:
    """Returns a word without a meaning, such as `tukvoma`: it can only be copied from where it was read."""
    syllables = (
        rng.choice("bcdfghjklmnprstvwz") + rng.choice("aeiou") + rng.choice(("", "", "l", "n", "r", "s", "x"))
        for _ in range(rng.randrange(2, 5))
    )
    return "".join(syllables)
