"""E-mail addresses, phone numbers, payment cards, IBANs, identity numbers and IP addresses: found by shape, kept only
if they add up."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import Final

from langflow_otel.redaction.scan import Finding, Patterns, Scan, compile_re2

# A letter may be written as in JSON: k\\u00f6ln.de
_SIGN: Final = r"(?:[A-Za-z0-9À-ɏ]|\\+u0[012][0-9A-Fa-f]{2})"
_LABEL: Final = rf"{_SIGN}(?:(?:{_SIGN}|-)*{_SIGN})?"
_EMAIL: Final = rf"(?:@|%40)((?:{_LABEL}\.)+(?:[A-Za-zÀ-ɏ]{{2,24}}|xn--[A-Za-z0-9-]+))"
# Left of the @, from there backwards: ASCII, and the UTF-8 bytes of Latin letters with accents.
_LOCAL: Final = (
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._%+~-"
    + bytes(range(0x80, 0xC0))
    + bytes(range(0xC3, 0xCA))
)
_MAX_LOCAL: Final = 256
_ESCAPED_LETTER: Final = re.compile(rb"\\(?:(u0[012][0-9A-Fa-f]{2})|u[0-9A-Fa-f]{4}|[nrt])")
_FILE_ENDINGS: Final = frozenset(
    b"png jpg jpeg gif svg webp ico js mjs ts tsx jsx css scss py json html htm xml yml yaml toml md txt pdf sh".split()
)
_VERSION: Final = re.compile(rb"v?[0-9]+\.[0-9x]")

# Not behind "0.": of a hundred numbers in JSON, fifty would be asked whether they are a card.
_NO_FRACTION: Final = r"(?:^|[^.0-9A-Za-z]|[^0-9]\.)"
# Between groups: a space, one that does not break, a thin one, a hyphen; also as JSON and HTML write them in ASCII.
_GAP_SIGN: Final = r" \-\x{a0}\x{2000}-\x{200a}\x{2010}\x{2011}\x{202f}\x{3000}"
_GAP: Final = rf"(?:[{_GAP_SIGN}]|\\+u(?:00[aA]0|20[01][0-9aA]|202[fF])|&nbsp;|&#160;)"
# Each as a pair: how it begins, and the whole.
_CARD: Final = (
    rf"{_NO_FRACTION}(?:[2-6][0-9]{{13}}|[2-6][0-9]{{3}}{_GAP}[0-9]{{4,6}}{_GAP}[0-9]{{4}})",
    rf"{_NO_FRACTION}"
    rf"(3[47][0-9]{{2}}{_GAP}?[0-9]{{6}}{_GAP}?[0-9]{{5}}|3(?:0[0-5]|[689][0-9])[0-9]{_GAP}?[0-9]{{6}}{_GAP}?[0-9]{{4}}|"
    rf"(?:[2456][0-9]{{3}}|35[0-9]{{2}})(?:{_GAP}?[0-9]{{4}}){{3}}(?:{_GAP}?[0-9]{{1,3}})?)",
)
_IBAN: Final = (
    rf"\b[A-Z]{{2}}[0-9]{{2}}{_GAP}?[A-Z0-9]{{4}}{_GAP}?[A-Z0-9]{{4}}",
    rf"\b([A-Z]{{2}}[0-9]{{2}}(?:{_GAP}?[A-Z0-9]{{4}}){{2,7}}(?:{_GAP}?[A-Z0-9]{{1,3}})?)",
)
_PHONE_GAP: Final = rf"().\-/{_GAP_SIGN}"
_PHONE: Final = (
    (rf"(?:\+|%2[Bb])\(?[1-9][0-9{_PHONE_GAP}]{{6}}", rf"((?:\+|%2[Bb])\(?[1-9][0-9{_PHONE_GAP}]{{6,28}}[0-9])"),
    (r"\b00[1-9][0-9 /.-]", r"\b(00(?:1|7|[2-9][0-9]{1,2})[ /.-]\(?[0-9][0-9().\-/ ]{4,24}[0-9])"),
    (r"\([2-9][0-9]{2}\) ?[2-9]", r"(\([2-9][0-9]{2}\) ?[2-9][0-9]{2}[-. ][0-9]{4})\b"),
    (
        r"\b[2-9][0-9]{2}[.-][2-9][0-9]{2}[.-]",
        r"\b([2-9][0-9]{2}-[2-9][0-9]{2}-[0-9]{4}|[2-9][0-9]{2}\.[2-9][0-9]{2}\.[0-9]{4})\b",
    ),
)
_PHONE_NAMES: Final = (
    "tel|telefon|telephone|phone|mobile?|mobil|cell|cellphone|fax|handy|rufnummer|telefonnummer|handynummer|whatsapp|"
    "t[ée]l[ée]phone|portable|tel[ée]fono|telefone|celular|m[óo]vil|тел|телефон"
)
_PHONE_NAMES_CJK: Final = ("电话", "電話", "手机", "手機", "传真", "携帯", "전화", "휴대폰")
_ESCAPED_CJK: Final = "|".join(
    "".join(rf"\\+u{ord(sign):04x}" for sign in name) for name in ("电话", "電話", "手机", "手機")
)
_OF_ESCAPED_CJK: Final = r"(?:\\+u(?:53f7|7801|865f|78bc)){0,2}"  # "number of", as JSON writes it
_PHONE_WORD: Final = (
    rf"(?:(?:\b|_)(?i:{_PHONE_NAMES})|[a-z](?:Phone|Mobile|Tel|Fax)|{'|'.join(_PHONE_NAMES_CJK)}|(?i:{_ESCAPED_CJK}))"
    rf"(?:[ _.-]?(?i:number|nummer|nr|no)|号码?|號碼?|番号|번호|(?i:{_OF_ESCAPED_CJK}))?"
    r"(?:\\*[\"']?[ \x{a0}.:=(\x{ff1a}]{1,4}\\*[\"']?|[ ](?i:is|ist|lautet|est|es)[ ]:?|是)"
)
_CALL: Final = r"(?i:call me at|call us at|reach me at|text me at|ruf an|anrufen unter)[ :]{1,2}"
_NATIONAL: Final = (
    rf"(?:{_PHONE_WORD}|{_CALL})\(?[0-9]{{2}}|(?i:\bcall)[ :]{{1,2}}\(?0[0-9]",
    rf"(?:{_PHONE_WORD}|{_CALL}|(?i:\bcall)[ :]{{1,2}})(\(?[0-9][0-9/()._\x{{2e}}{_GAP_SIGN}]{{5,22}}[0-9])",
)
# Residents of China: place, date of birth, three digits and a check.
_CHINESE: Final = (
    rf"{_NO_FRACTION}[1-9][0-9]{{5}}(?:18|19|20)[0-9]{{2}}[01][0-9][0-3]",
    rf"{_NO_FRACTION}"
    r"([1-9][0-9]{5}(?:18|19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{3}[0-9Xx])\b",
)
_SSN_WORD: Final = (
    r"(?i:\bssn|\bsocial[ _-]?security(?:[ _-]?(?:number|no|num))?)[.#]?\\*[\"']?(?:[ :=#]{1,4}|[ ]is[ ])\\*[\"']?"
)
_SSN: Final = (r"\b[0-8][0-9]{2}-[0-9]{2}-", r"\b([0-8][0-9]{2}-[0-9]{2}-[0-9]{4})\b")
_NAMED_SSN: Final = (
    rf"{_SSN_WORD}[0-8]",
    rf"{_SSN_WORD}([0-8][0-9]{{2}}[- \x{{a0}}]?[0-9]{{2}}[- \x{{a0}}]?[0-9]{{4}})\b",
)
_IPV4: Final = (r"\b[0-9]{1,3}\.[0-9]{1,3}\.", r"\b([0-9]{1,3}(?:\.[0-9]{1,3}){3})\b")
_IPV6: Final = (
    # Not with two colons only, as a time of day has.
    r"(?:[0-9A-Fa-f]{1,4}:){1,6}:|::[0-9A-Fa-f]|(?:[0-9A-Fa-f]{1,4}:){3}",
    r"([0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:\.[0-9]{1,3}){0,3})",
)

_NOT_DIGIT: Final = re.compile(rb"[^0-9]")
_NOT_ALNUM: Final = re.compile(rb"[^A-Z0-9]")
_DATE: Final = re.compile(rb"(?:19|20)[0-9]{2}-[0-9]{2}-[0-9]{2}")
_FRACTION: Final = re.compile(rb"\.[0-9]{5,}")
_GROUPS: Final = re.compile(rb"[0-9]+")
_ESCAPED_GAP: Final = re.compile(rb"\\+u[0-9A-Fa-f]{4}|&nbsp;|&#160;")
# A number in one piece behind such a word is no card; "card_id" and "card number" have no such word alone.
_ID_BEFORE: Final = re.compile(
    rb"(?i:(?<!card)(?<!card[ _.-])(?:\b|_|(?<=[a-z]))(?:id|ids|uid|guid|order|bestellung|ref|reference|invoice|"
    rb"rechnung|ticket|trace|span|session|request|tracking|serial|snowflake|tweet|row|seq|offset|isbn|ean|imei)"
    rb"(?:[ _-]?(?:no|nr|number|nummer|id))?)\\*[\"']?[ .:=#(\[]{1,4}\\*[\"'#]?\Z"
)
_MONEY: Final = re.compile(rb",[0-9]| ?(?:EUR|USD|GBP|CNY|%|\xe2\x82\xac|\$)")
_MAESTRO: Final = frozenset((5018, 5020, 5038, 5893, 6304, 6759, 6761, 6762, 6763))
_PROVINCES: Final = frozenset(
    (*range(11, 16), *range(21, 24), *range(31, 38), *range(41, 47), *range(50, 55), *range(61, 66), 71, 81, 82, 91)
)
_IBAN_LENGTHS: Final = {
    country.encode(): int(length)
    for country, length in re.findall(
        r"([A-Z]{2})(\d\d)",
        "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BR29BY28CH21CR22CY28CZ24DE22DK18DO28EE20EG29ES24FI18FO18FR27GB22GE22GI23"
        "GL18GR27GT28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MR27MT31MU30"
        "NL18NO15PK24PL28PS29PT25QA29RO24RS22SA24SC31SE24SI19SK24SM27ST25SV28TL23TN24TR26UA29VA22VG24XK20",
    )
}

Judge = Callable[[bytes, int, int], "Finding | None"]


def compiled(ips: bool) -> tuple[Callable[[Scan], Iterator[Finding]], ...]:
    """The searches for personal data, in the order in which they run. Raises ImportError without ``google-re2``."""
    rules: list[tuple[tuple[str, str], Judge]] = [(_CARD, _card), (_CHINESE, _chinese), (_IBAN, _iban)]
    rules += [(_NATIONAL, _national), (_NAMED_SSN, _ssn), (_SSN, _ssn)]
    rules += [(pattern, _phone) for pattern in _PHONE]
    if ips:
        rules += [(_IPV4, _ip), (_IPV6, _ip)]
    numbers = Patterns([pattern for pattern, _ in rules])
    email = compile_re2(_EMAIL)

    def find_numbers(scan: Scan) -> Iterator[Finding]:
        for number, match in numbers.matches(scan):
            start, end = match.span(1)
            found = rules[number][1](scan.raw, start, end)
            if found is not None:
                scan.at = found[1]
                yield found
            else:
                # Another number may begin inside, behind the first digits.
                first = _GROUPS.search(scan.raw, start, end)
                scan.at = end if first is None else first.end()
                scan.passed_on = True

    def find_emails(scan: Scan) -> Iterator[Finding]:
        done = 0
        for match in scan.matches(email):
            start = _local_start(scan.raw, max(done, match.start() - _MAX_LOCAL), match.start())
            if _is_address(scan.raw[start : match.start()], match.group(1)):
                done = match.end()
                yield start, done, "email"

    return find_numbers, find_emails


def _local_start(raw: bytes, lowest: int, at: int) -> int:
    start = lowest + len(raw[lowest:at].rstrip(_LOCAL))
    while start > lowest and (escape := _ESCAPED_LETTER.match(raw, start - 1, at)):
        whole = lowest + len(raw[lowest:start].rstrip(b"\\"))
        if escape.group(1) is None:
            # A line's end or a sign of another script, written out, stands before the address.
            return escape.end()
        start = lowest + len(raw[lowest:whole].rstrip(_LOCAL))
    # Not in the middle of a letter, nor with the end of a sentence before it.
    while start < at and (0x80 <= raw[start] < 0xC0 or raw[start] in b".-"):
        start += 1
    return start


def _is_address(local: bytes, domain: bytes) -> bool:
    # git@github.com:owner/repository and icon@2x.png name nobody.
    return (
        bool(local)
        and local != b"git"
        and domain.rpartition(b".")[2].lower() not in _FILE_ENDINGS
        and not _VERSION.match(domain)
    )


def luhn(digits: bytes) -> bool:
    """True if the last digit is the check digit of the others, as on payment cards."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = digit - 48
        if place % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def _goes_on_before(raw: bytes, start: int) -> bool:
    """True for digits inside of a longer number, a fraction ("0.4111"), a hash, or a UUID and the like."""
    before = raw[max(start - 2, 0) : start]
    # Not ",": fields of CSV stand as close.
    return before[-1:].isalnum() or (len(before) == 2 and before[1] in b".-" and before[:1].isalnum())


def _goes_on_behind(raw: bytes, end: int) -> bool:
    after = raw[end : end + 2]
    return after[:1].isalnum() or (len(after) == 2 and after[0] in b".-" and after[1:].isdigit())


def _card(raw: bytes, start: int, end: int) -> Finding | None:
    if _goes_on_before(raw, start):
        return None
    text = _with_plain_gaps(raw[start:end])
    groups = [match.span() for match in _GROUPS.finditer(text)]
    in_one_piece = groups[0][1] >= 14
    if in_one_piece and _ID_BEFORE.search(raw[max(start - 48, 0) : start]):
        return None
    while groups:
        stop = groups.pop()[1]
        digits = _NOT_DIGIT.sub(b"", text[:stop])
        if len(digits) < 14:
            return None
        # 19 digits in one piece that begin with 4 are an id of a database far more often than a card.
        is_issued = _issued(digits) and not (in_one_piece and len(digits) == 19 and digits[:1] == b"4")
        if is_issued and luhn(digits) and not _goes_on_behind(raw, start + stop):
            return start, start + stop, "card"
    return None


def _with_plain_gaps(text: bytes) -> bytes:
    """As many bytes, without the digits and letters of escapes."""
    return _ESCAPED_GAP.sub(lambda found: b" " * len(found[0]), text)


def _issued(digits: bytes) -> bool:
    """Length and first digits fit an issuer: American Express, Diners, JCB, Mastercard, UnionPay, Visa, Discover and
    Maestro."""
    size, two, four = len(digits), digits[:2], int(digits[:4])
    if two in (b"34", b"37"):
        return size == 15
    if digits[:1] == b"3":
        return size == 16 and 3528 <= four <= 3589 if two == b"35" else size == 14
    if digits[:1] == b"4":
        return size in (16, 19)
    if digits[:1] == b"2":
        return size == 16 and 2221 <= four <= 2720
    if digits[:1] == b"5":
        return size == 16 and b"51" <= two <= b"55"
    if two == b"62":
        return 16 <= size <= 19
    if four == 6011 or two == b"65" or 644 <= four // 10 <= 649:
        return size == 16
    return 16 <= size <= 19 and four in _MAESTRO


def _chinese(raw: bytes, start: int, end: int) -> Finding | None:
    number = raw[start:end].upper()
    check = sum((sign - 48) * 2 ** (17 - place) for place, sign in enumerate(number[:17]))
    if _goes_on_before(raw, start) or _goes_on_behind(raw, end) or int(number[:2]) not in _PROVINCES:
        return None
    return (start, end, "identity_number") if b"10X98765432"[check % 11] == number[17] else None


def _ssn(raw: bytes, start: int, end: int) -> Finding | None:
    digits = _NOT_DIGIT.sub(b"", raw[start:end])
    before, after = raw[max(start - 1, 0) : start], raw[end : end + 2]
    if before in (b"-", b".", b"/", b"+") or after[:1] == b"-" or (after[:1] == b"." and after[1:].isdigit()):
        return None
    if len(digits) != 9 or digits[:3] in (b"000", b"666") or digits[3:5] == b"00" or digits[5:] == b"0000":
        return None
    return start, end, "ssn"


def _iban(raw: bytes, start: int, end: int) -> Finding | None:
    size = _IBAN_LENGTHS.get(raw[start : start + 2])
    if size is None:
        return None
    text = _with_plain_gaps(raw[start:end])
    stop, seen = 0, 0
    while stop < len(text) and seen < size:
        seen += text[stop : stop + 1].isalnum()
        stop += 1
    if seen < size or raw[start + stop : start + stop + 1].isalnum():
        return None
    account = _NOT_ALNUM.sub(b"", text[:stop])
    rearranged = account[4:] + account[:4]
    if int("".join(str(int(chr(sign), 36)) for sign in rearranged)) % 97 != 1:
        return None
    return start, start + stop, "iban"


def _phone(raw: bytes, start: int, end: int) -> Finding | None:
    international = not raw[start : start + 1].isdigit() and raw[start] != 40
    before = raw[start - 1 : start]
    # Behind a letter, a digit or a bracket "+" is a sum.
    if before.isalnum() or before in ((b")", b"]", b"+", b"_") if international else (b"_", b".", b"-", b")", b"/")):
        return None
    if not international and before == b":" and raw[max(start - 2, 0) : start - 1].isdigit():
        return None  # the end of a time
    if date := _DATE.search(raw, start, end):
        end = date.start()
    groups = [match.span() for match in _GROUPS.finditer(raw, start + (3 if raw[start] == 37 else 0), end)]
    while groups and sum(stop - begin for begin, stop in groups) > 15:
        groups.pop()
    if not groups or not _fits_phone([stop - begin for begin, stop in groups], raw[start:end], international):
        return None
    stop = groups[-1][1]
    after = raw[stop : stop + 2]
    if after[:1].isalnum() or after[:1] == b"_" or (after[:1] in (b".", b",") and after[1:].isdigit()):
        return None
    return start, stop, "phone"


def _fits_phone(sizes: list[int], text: bytes, international: bool) -> bool:
    digits = sum(sizes)
    if len(sizes) == 1:
        return international and 10 <= digits <= 15
    # "+48.137154" is a coordinate, whatever follows.
    return digits >= 9 and not (len(sizes) == 2 and b"." in text) and not _FRACTION.search(text)


def _national(raw: bytes, start: int, end: int) -> Finding | None:
    if date := _DATE.search(raw, start, end):
        end = date.start()
    groups = [match.span() for match in _GROUPS.finditer(raw, start, end)]
    while groups and sum(stop - begin for begin, stop in groups) > 13:
        groups.pop()
    if not groups or sum(stop - begin for begin, stop in groups) < 7 or len(groups) > 6:
        return None
    stop = groups[-1][1]
    if raw[stop : stop + 1].isalnum() or raw[stop : stop + 1] == b"_" or _MONEY.match(raw, stop):
        return None
    return start, stop, "phone"


def _ip(raw: bytes, start: int, end: int) -> Finding | None:
    text = raw[start:end]
    if b":" in text and not any(48 <= sign <= 57 for sign in text):
        return None  # a::b is C++
    before, after = raw[max(start - 2, 0) : start], raw[end : end + 2]
    if (
        before[-1:].isalnum()
        or before[-1:] in (b".", b":", b"_")
        or after[:1].isalnum()
        or (after[:1] in (b".", b":") and after[1:].isdigit())
    ):
        return None
    try:
        ipaddress.ip_address(text.decode())
    except ValueError:
        return None
    return start, end, "ip"
