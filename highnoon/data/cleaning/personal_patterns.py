"""High-precision patterns of personal data; they prefer misses to false alarms."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence

Zones = Sequence[tuple[int, int]]
Finder = Callable[[str, Zones], Iterator[tuple[int, int]]]

# Spans that may have a number of seven digits: all kinds but e-mail addresses are near one, and searching for
# these first is ten times as fast.
_ZONE = re.compile(r"\d[\d ().:/-]{5,}\d", re.ASCII)

_EMAIL_DOMAIN = re.compile(
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,24}(?![\w-]|:\w|/)", re.ASCII
)
_EMAIL_NAME = re.compile(r"(?<![\w.%+-])[A-Za-z0-9](?:[\w.%+-]{0,62}[\w%+-])?$", re.ASCII)
_LONGEST_NAME = 64

# A country code and groups of digits; ten or more digits if they are not separated. North American numbers
# begin with 2 to 9 after the code, and need no code if they are written 3-3-4. A number with a leading 0
# counts only after a word such as "phone".
_INTERNATIONAL = re.compile(
    r"(?<![\w+.)])(?<!\d )\+(?:1[ .-]?\(?[2-9]|[2-9]\d)"
    r"(?:\d{8,13}|\d{0,3}(?:(?:\)[ .-]?|[ .-])\(?\d{1,9}){1,6})(?![\w]|[.,-]\d)",
    re.ASCII,
)
_NORTH_AMERICAN = re.compile(
    r"(?<![\w.+/-])(?:1[ .-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}([.-]))[2-9]\d{2}(?(1)\1|-)\d{4}(?![\w/-]|\.\d)",
    re.ASCII,
)
_NAMED = re.compile(r"\(?0\d[\d ()/.-]{5,16}\d(?!\w)", re.ASCII)
_PHONE_WORD = re.compile(
    r"\b(?:tel|telephone|telefon|téléphone|teléfono|phone|fax|mobile|mobil)\b[.:]{0,2} {0,2}$", re.IGNORECASE
)

_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IP_4 = re.compile(
    rf"(?<![\w.=~^<>-])(?<![^/]/)({_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET})(?![\w-]|\.\w|/\d)", re.ASCII
)
_VERSION_WORD = re.compile(
    r"(?:\b(?:version|release|build|ver|rev|section|chapter|firmware)[.:]?|[\w)]@) *$", re.IGNORECASE
)
_IP_6_SIGN = re.compile(r":[0-9A-Fa-f]{0,4}:", re.ASCII)
_IP_6 = re.compile(r"(?<![\w:.])[23][0-9A-Fa-f]{3}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:]|\.\d)", re.ASCII)

_CARD = re.compile(
    r"(?<![\w.+-])(?:[23456]\d{3}([ -])\d{4}\1\d{4}\1\d{1,7}|3\d{3}([ -])\d{6}\2\d{4,5}|[23456]\d{12,18})"
    r"(?![\w]|[.-]\d)",
    re.ASCII,
)
# Visa, Mastercard (both ranges), American Express, Discover, JCB, Diners Club.
_CARD_KIND = re.compile(
    r"4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|6(?:011|5\d\d|4[4-9]\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}|3(?:0[0-5]|[68]\d)\d{11}"
)

_IBAN = re.compile(r"(?<![\w-])[A-Z]{2}\d\d(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![\w-])", re.ASCII)
# Length of an account number by country, from the registry that SWIFT maintains for ISO 13616.
_IBAN_LENGTHS = {
    "AD": 24,
    "AE": 23,
    "AL": 28,
    "AT": 20,
    "AZ": 28,
    "BA": 20,
    "BE": 16,
    "BG": 22,
    "BH": 22,
    "BR": 29,
    "BY": 28,
    "CH": 21,
    "CR": 22,
    "CY": 28,
    "CZ": 24,
    "DE": 22,
    "DK": 18,
    "DO": 28,
    "EE": 20,
    "EG": 29,
    "ES": 24,
    "FI": 18,
    "FO": 18,
    "FR": 27,
    "GB": 22,
    "GE": 22,
    "GI": 23,
    "GL": 18,
    "GR": 27,
    "GT": 28,
    "HR": 21,
    "HU": 28,
    "IE": 22,
    "IL": 23,
    "IQ": 23,
    "IS": 26,
    "IT": 27,
    "JO": 30,
    "KW": 30,
    "KZ": 20,
    "LB": 28,
    "LC": 32,
    "LI": 21,
    "LT": 20,
    "LU": 20,
    "LV": 21,
    "LY": 25,
    "MC": 27,
    "MD": 24,
    "ME": 22,
    "MK": 19,
    "MR": 27,
    "MT": 31,
    "MU": 30,
    "NL": 18,
    "NO": 15,
    "PK": 24,
    "PL": 28,
    "PS": 29,
    "PT": 25,
    "QA": 29,
    "RO": 24,
    "RS": 22,
    "SA": 24,
    "SC": 31,
    "SE": 24,
    "SI": 19,
    "SK": 24,
    "SM": 27,
    "ST": 25,
    "SV": 28,
    "TL": 23,
    "TN": 24,
    "TR": 26,
    "UA": 29,
    "VA": 22,
    "VG": 24,
    "XK": 20,
}


def number_zones(text: str) -> Zones:
    """Returns the spans that may have numbers of seven or more digits; the finders below take them."""
    return [match.span() for match in _ZONE.finditer(text)]


def find_emails(text: str, zones: Zones) -> Iterator[tuple[int, int]]:
    """Yields the spans of e-mail addresses."""
    for domain in _EMAIL_DOMAIN.finditer(text):
        first = max(domain.start() - _LONGEST_NAME - 1, 0)
        name = _EMAIL_NAME.search(text[first : domain.start()])
        if name is not None and ".." not in name[0]:
            yield first + name.start(), domain.end()


def find_phones(text: str, zones: Zones) -> Iterator[tuple[int, int]]:
    """Yields the spans of phone numbers: international, North American, or after a word such as "phone"."""
    for match in _near(_INTERNATIONAL, text, zones):
        if 8 <= sum(map(str.isdigit, match[0])) <= 15:
            yield match.span()
    yield from (match.span() for match in _near(_NORTH_AMERICAN, text, zones))
    for match in _near(_NAMED, text, zones):
        if _PHONE_WORD.search(text[max(match.start() - 16, 0) : match.start()]) is not None:
            yield match.span()


def find_ip_addresses(text: str, zones: Zones) -> Iterator[tuple[int, int]]:
    """Yields the spans of public IP addresses.

    Four small numbers are more often a version or a section than an address: one of them must have three
    digits, as in 98 of 100 addresses, and no word or sign before them may indicate something else.
    """
    for match in _near(_IP_4, text, zones):
        address = ipaddress.IPv4Address(match[1])
        has_three_digits = any(len(octet) == 3 for octet in match[1].split("."))
        before = text[max(match.start() - 16, 0) : match.start()]
        if (
            has_three_digits
            and address.is_global
            and not address.is_multicast
            and _VERSION_WORD.search(before) is None
        ):
            yield match.span()
    if _IP_6_SIGN.search(text) is not None:
        yield from (match.span() for match in _IP_6.finditer(text) if _is_ip_6(match[0]))


def find_cards(text: str, zones: Zones) -> Iterator[tuple[int, int]]:
    """Yields the spans of payment card numbers: a known issuer and a valid check digit."""
    for match in _near(_CARD, text, zones):
        digits = re.sub("[ -]", "", match[0])
        if _CARD_KIND.fullmatch(digits) and _has_luhn_digit(digits):
            yield match.span()


def find_ibans(text: str, zones: Zones) -> Iterator[tuple[int, int]]:
    """Yields the spans of account numbers: the length of the country and valid check digits (ISO 7064)."""
    for match in _near(_IBAN, text, zones, before=24, after=32):
        length = _IBAN_LENGTHS.get(match[0][:2])
        # A word in capitals after a number may look like its last groups.
        ends = [
            end
            for end in range(len(match[0]) + 1)
            if length and len(match[0][:end].replace(" ", "")) == length
        ]
        if ends and _has_iban_digits(match[0][: ends[0]].replace(" ", "")):
            yield match.start(), match.start() + ends[0]


def _near(
    pattern: re.Pattern[str], text: str, zones: Zones, before: int = 4, after: int = 4
) -> Iterator[re.Match[str]]:
    """Yields the matches in and around the zones, each once."""
    end = 0
    for start, stop in zones:
        for match in pattern.finditer(text, max(start - before, end), stop + after):
            yield match
            end = match.end()


def _is_ip_6(text: str) -> bool:
    try:
        return ipaddress.IPv6Address(text).is_global
    except ValueError:
        return False


def _has_luhn_digit(digits: str) -> bool:
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


def _has_iban_digits(account: str) -> bool:
    return int("".join(str(int(character, 36)) for character in account[4:] + account[:4])) % 97 == 1
