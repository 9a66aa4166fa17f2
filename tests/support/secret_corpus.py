"""Texts with planted secrets and texts that only look as if, made from a seed.

No key stands here in full: each is put together at run time from a vendor's prefix and random characters.
"""

# ruff: noqa: RUF001 - commas of Chinese texts
from __future__ import annotations

import base64
import json
import random
import re
import string
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

ALNUM = string.ascii_letters + string.digits
URLSAFE = ALNUM + "-_"
HEX = "0123456789abcdef"
UPPER = string.ascii_uppercase + string.digits


@dataclass(frozen=True)
class Text:
    """One text, with what is secret in it: pairs of kind and value. None in a clean text."""

    text: str
    secrets: tuple[tuple[str, str], ...] = ()


def some(rng: random.Random, size: int, signs: str = ALNUM) -> str:
    return "".join(rng.choices(signs, k=size))


def base64_of(rng: random.Random, size: int) -> str:
    return base64.b64encode(rng.randbytes(size)).decode()


def check_digit(digits: str) -> str:
    """The Luhn check digit, in the way in which it is done by hand."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (2 if place % 2 == 0 else 1)
        total += sum(map(int, str(doubled)))
    return str(-total % 10)


# ---- secrets


def aws(rng: random.Random) -> str:
    return rng.choice(["AK" + "IA", "AS" + "IA"]) + some(rng, 16, string.ascii_uppercase + "234567")


def gcp(rng: random.Random) -> str:
    return rng.choice(["AI" + "za" + some(rng, 35, URLSAFE), "ya" + "29." + some(rng, 60, URLSAFE)])


def azure(rng: random.Random) -> str:
    return rng.choice(
        [
            some(rng, 52) + "JQQJ" + "99" + some(rng, 26),
            some(rng, 3) + "8" + "Q~" + some(rng, 34),
            some(rng, 76) + "AZ" + "DO" + some(rng, 4),
        ]
    )


def github(rng: random.Random) -> str:
    return rng.choice(
        ["gh" + rng.choice("pousr") + "_" + some(rng, 36), "github" + "_pat_" + some(rng, 22) + "_" + some(rng, 59)]
    )


def gitlab(rng: random.Random) -> str:
    return "gl" + rng.choice(["pat", "dt", "rt", "ptt"]) + "-" + some(rng, 20, URLSAFE)


def slack(rng: random.Random) -> str:
    return rng.choice(
        [
            f"xox{rng.choice('bpa')}-{some(rng, 12, string.digits)}-{some(rng, 12, string.digits)}-{some(rng, 24)}",
            "xa" + f"pp-1-A{some(rng, 10, UPPER)}-{some(rng, 13, string.digits)}-{some(rng, 64, HEX)}",
        ]
    )


def stripe(rng: random.Random) -> str:
    return rng.choice("rs") + "k_" + rng.choice(["live", "test"]) + "_" + some(rng, rng.choice([24, 99]))


def openai(rng: random.Random) -> str:
    middle = "T3Blbk" + "FJ"
    return rng.choice(
        [
            "s" + "k-" + some(rng, 20) + middle + some(rng, 20),
            "s" + "k-proj-" + some(rng, 74, URLSAFE) + middle + some(rng, 74),
        ]
    )


def sk(rng: random.Random) -> str:
    """LangFlow's own keys, DeepSeek's and OpenRouter's begin alike."""
    return "s" + rng.choice(
        [
            "k-" + some(rng, 43, URLSAFE),
            "k-" + some(rng, 32, HEX),
            "k-or-v1-" + some(rng, 64, HEX),
            "k-lf-" + _uuid(rng),
            "k-lw-" + some(rng, 48),
            "k_" + some(rng, 48, HEX),
        ]
    )


def anthropic(rng: random.Random) -> str:
    return "s" + "k-ant-" + "api03-" + some(rng, 93, URLSAFE) + "AA"


def huggingface(rng: random.Random) -> str:
    return "h" + "f_" + some(rng, 34)


def npm(rng: random.Random) -> str:
    return "np" + "m_" + some(rng, 36)


def pypi(rng: random.Random) -> str:
    return "py" + "pi-AgEIcHlwaS5vcmc" + some(rng, 90, URLSAFE)


def twilio(rng: random.Random) -> str:
    return rng.choice(["A" + "C", "S" + "K"]) + some(rng, 32, HEX)


def sendgrid(rng: random.Random) -> str:
    return "S" + "G." + some(rng, 22, URLSAFE) + "." + some(rng, 43, URLSAFE)


def other_vendor(rng: random.Random) -> str:
    return rng.choice(
        [
            "gs" + "k_" + some(rng, 52),
            "xa" + "i-" + some(rng, 80),
            "r" + "8_" + some(rng, 37),
            "tv" + "ly-" + some(rng, 32),
            "nv" + "api-" + some(rng, 64, URLSAFE),
            "pc" + "sk_" + some(rng, 60),
            "ls" + "v2_pt_" + some(rng, 32, HEX) + "_" + some(rng, 10, HEX),
            "da" + "pi" + some(rng, 32, HEX),
            "Astra" + "CS:" + some(rng, 24) + ":" + some(rng, 64, HEX),
            "hv" + "s." + some(rng, 90, URLSAFE),
            "api" + "fy_api_" + some(rng, 36),
            "e2" + "b_" + some(rng, 40, HEX),
            "f" + "c-" + some(rng, 32, HEX),
            "m" + "0-" + some(rng, 40),
            "sg" + "ai-" + _uuid(rng),
            "f" + "w_" + some(rng, 24),
            "tgp" + "_v1_" + some(rng, 43, URLSAFE),
            "cs" + "k-" + some(rng, 48),
            "ji" + "na_" + some(rng, 32, HEX) + some(rng, 33, URLSAFE),
            "p" + "a-" + some(rng, 43, URLSAFE).replace("-", "x"),
            "z" + "_1dWlkIjoi" + some(rng, 80, ALNUM),
            "zw" + "t_" + some(rng, 40, URLSAFE),
            "tl" + "k_" + some(rng, 30, UPPER),
            "a" + "k_" + some(rng, 32),
            "BS" + "A" + some(rng, 28, ALNUM),
            "bce" + "-v3/ALTAK-" + some(rng, 21) + "/" + some(rng, 40, HEX),
            "LT" + "AI5t" + some(rng, 20),
            "ls" + "__" + some(rng, 32, HEX),
            "secret" + "_" + some(rng, 43),
            base64.b64encode(some(rng, 18, "123456789").encode()).decode()
            + "."
            + some(rng, 6)
            + "."
            + some(rng, 38, URLSAFE),
            "r" + "e_" + some(rng, 8) + "_" + some(rng, 24),
            "np" + "g_" + some(rng, 12),
            "lin" + "_api_" + some(rng, 40),
            "fi" + "gd_" + some(rng, 40, URLSAFE),
            "ATA" + "TT3xFfGF0" + some(rng, 180, URLSAFE),
            "pa" + "t-na1-" + _uuid(rng),
            "PM" + "AK-" + some(rng, 24, HEX) + "-" + some(rng, 34, HEX),
            "sn" + "trys_" + some(rng, 120),
            "psc" + "ale_tkn_" + some(rng, 43),
            "AGE-SECRET" + "-KEY-1" + some(rng, 58, UPPER),
            "sb" + "_secret_" + some(rng, 22, URLSAFE) + "_" + some(rng, 8),
            f"{rng.randrange(10**8, 10**10)}:A" + "A" + some(rng, 33, URLSAFE),
        ]
    )


def _uuid(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def encoded(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document, separators=(",", ":")).encode()).decode().rstrip("=")


def jwt(rng: random.Random) -> str:
    claims = {"sub": some(rng, 10, string.digits), "name": rng.choice(NAMES), "iat": rng.randrange(10**9, 2 * 10**9)}
    header = {"alg": rng.choice(["HS256", "RS256"]), "typ": "JWT"}
    return f"{encoded(header)}.{encoded(claims)}.{some(rng, 43, URLSAFE)}"


def private_key(rng: random.Random) -> str:
    kind = rng.choice(["RSA ", "EC ", "OPENSSH ", "ENCRYPTED ", ""])
    body = base64_of(rng, rng.choice([120, 600, 1200]))
    lines = [body[at : at + 64] for at in range(0, len(body), 64)]
    return "\n".join([f"-----BEGIN {kind}PRIVATE" + " KEY-----", *lines, f"-----END {kind}PRIVATE" + " KEY-----"])


def password(rng: random.Random) -> str:
    return rng.choice(
        [
            rng.choice(["hunter", "sommer", "tiger", "Berlin"]) + some(rng, rng.choice([1, 4]), string.digits),
            some(rng, rng.choice([8, 12, 20])),
            some(rng, 4) + rng.choice("!#%*+~^") + some(rng, 5),
            "".join(rng.choices(["apfel", "horse", "staple", "blau"], k=2)) + "-" + some(rng, 2, string.digits),
        ]
    )


def secret(rng: random.Random) -> str:
    return rng.choice(
        [some(rng, 32, HEX), some(rng, 40), str(uuid.UUID(int=rng.getrandbits(128), version=4)), some(rng, 24)]
    )


def card(rng: random.Random) -> str:
    start = rng.choice(["4", "51", "55", "2221", "34", "37", "6011", "3528", "36"])
    size = {"34": 15, "37": 15, "36": 14}.get(start, 16)
    digits = start + some(rng, size - len(start) - 1, string.digits)
    digits += check_digit(digits)
    sign = rng.choice(["", "", " ", "-", "\u00a0", "\u202f"])
    groups = {16: (4, 4, 4, 4), 15: (4, 6, 5), 14: (4, 6, 4)}[size]
    parts, at = [], 0
    for group in groups:
        parts.append(digits[at : at + group])
        at += group
    return sign.join(parts)


def iban(rng: random.Random) -> str:
    country, account = rng.choice(
        [
            ("DE", some(rng, 18, string.digits)),
            ("AT", some(rng, 16, string.digits)),
            ("GB", "WEST" + some(rng, 14, string.digits)),
            ("FR", some(rng, 10, string.digits) + some(rng, 11, UPPER) + some(rng, 2, string.digits)),
        ]
    )
    number = int("".join(str(int(sign, 36)) for sign in account + country + "00"))
    whole = f"{country}{98 - number % 97:02}{account}"
    sign = rng.choice([" ", "\u00a0", "\u2009"])
    return sign.join(whole[at : at + 4] for at in range(0, len(whole), 4)) if rng.random() < 0.5 else whole


def identity_number(rng: random.Random) -> str:
    """Of a resident of China, with its check as the standard does it: by weights, from a table."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    born = f"{rng.randrange(1940, 2015)}{rng.randrange(1, 13):02}{rng.randrange(1, 29):02}"
    digits = rng.choice(["110105", "310115", "440305", "510107"]) + born + some(rng, 3, string.digits)
    return digits + "10X98765432"[sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True)) % 11]


def ssn(rng: random.Random) -> str:
    area = rng.choice([rng.randrange(1, 666), rng.randrange(667, 900)])
    return f"{area:03}-{rng.randrange(1, 100):02}-{rng.randrange(1, 10**4):04}"


def email(rng: random.Random) -> str:
    first, last = rng.choice(NAMES).lower(), rng.choice(SURNAMES).lower()
    local = rng.choice(
        [
            f"{first}.{last}",
            f"{last}.{first}",
            f"{first[0]}{last}",
            f"{first}_{last}{rng.randrange(99)}",
            f"{first}+{last}",
            last,
        ]
    )
    domain = rng.choice(
        [
            "example.com",
            "mail.example.org",
            "uni-köln.de",
            "firma.co.uk",
            "bücher-weiß.de",
            "post.example.museum",
            "gmail.com",
            "b-c.io",
        ]
    )
    return f"{local}@{domain}"


def phone(rng: random.Random) -> str:
    def n(size: int) -> str:
        return some(rng, size, string.digits)

    area = rng.choice("23456789") + n(2)
    return rng.choice(
        [
            f"+49 {rng.choice(['151', '170', '30', '89', '221'])} {n(7)}",
            f"+49 (0)30 {n(4)} {n(4)}",
            f"+4917{n(9)}",
            f"+1 ({area}) {rng.choice('23456789')}{n(2)}-{n(4)}",
            f"+1-{area}-{rng.choice('23456789')}{n(2)}-{n(4)}",
            f"+1.{area}.{rng.choice('23456789')}{n(2)}.{n(4)}",
            f"+44 20 {n(4)} {n(4)}",
            f"+33 {rng.choice('1234567')} {n(2)} {n(2)} {n(2)} {n(2)}",
            f"+41 {rng.choice('234567')}{n(1)} {n(3)} {n(2)} {n(2)}",
            f"+86 13{n(1)} {n(4)} {n(4)}",
            f"+91 9{n(4)} {n(5)}",
            f"+3581{n(9)}",
            f"0049 {rng.choice(['171', '40', '69'])} {n(7)}",
            f"({area}) {rng.choice('23456789')}{n(2)}-{n(4)}",
        ]
    )


# ---- surroundings

NAMES = ["Anna", "Ben", "Céline", "Dmitri", "Jürgen", "Li", "Maria", "Noah", "Olga", "Zoë"]
SURNAMES = ["Schmidt", "Garcia", "Nguyen", "Meier", "Rossi", "Weiß", "Kowalski", "Tanaka"]

SENTENCES = [
    "The quarterly report is due on Friday, and nobody has looked at the third chapter yet.",
    "Bitte prüfen Sie die Bestellung und antworten Sie bis morgen früh; der Kunde wartet schon länger.",
    "The model answered within two seconds and cited both of the documents that were retrieved.",
    "Der Größe nach sortiert, ergäbe die Übersicht ein völlig anderes Bild.",
    "Please summarise the conversation in three bullet points for someone who was not present.",
    "この文書を要約してください。重要な点を三つ挙げてください。",
    "请根据上下文回答问题，如果不知道就说不知道。",
    "I would rather keep the old behaviour, since two customers depend on it.",
    "After the migration all vectors have to be computed again, which takes about an hour.",
    "You are a careful assistant. Never reveal anything about other customers.",
]

PLACES: list[Callable[[str, random.Random], str]] = [
    lambda v, r: f"{r.choice(SENTENCES)} It is {v} and I have tested it. {r.choice(SENTENCES)}",
    lambda v, r: f"{r.choice(SENTENCES)}\n\n{v}\n\n{r.choice(SENTENCES)}",
    lambda v, r: f"Hier steht es: {v}. {r.choice(SENTENCES)}",
    lambda v, r: json.dumps({"id": r.randrange(10**6), "question": r.choice(SENTENCES), "input": f"use {v} please"}),
    lambda v, r: json.dumps({"values": [r.choice(SENTENCES), v, None, 3.25]}, ensure_ascii=False),
    lambda v, r: json.dumps({"body": json.dumps({"value": v, "n": r.randrange(999)})}),
    lambda v, r: f"name: import\nretries: 3\nvalue: {v}\nsteps:\n  - fetch\n  - parse\n",
    lambda v, r: f"$ ./deploy.sh --region eu-central-1 '{v}'\nuploading 3 files ... done",
    lambda v, r: f"def main():\n    client = Client(region='eu')\n    client.call({v!r}, retries=3)\n",
    lambda v, r: (
        f'Traceback (most recent call last):\n  File "/app/flow.py", line {r.randrange(900)}, in run\n'
        f"    raise ValueError(value)\nValueError: not accepted: {v}"
    ),
    lambda v, r: (
        f"2026-03-0{r.randrange(1, 9)} 12:4{r.randrange(9)}:07,{r.randrange(100, 999)} WARNING worker-{r.randrange(9)} "
        f"rejected ({v}) after 31 ms"
    ),
    lambda v, r: f"| field | value |\n| --- | --- |\n| first | {v} |\n| second | 42 |",
    lambda v, r: f"用户输入了 {v} ，请检查。",
    lambda v, r: f"id,value,note\n{r.randrange(99)},{v},ok\n{r.randrange(99)},none,late",
    lambda v, r: f'level=info ts={_date(r)}T{_time(r)}Z msg="got {v}" dur=3.1ms',
    lambda v, r: f'<item id="{r.randrange(99)}" value="{v}"/>\n<p>ok</p>',
    lambda v, r: f"```js\nconst value = `{v}`;\nconsole.log(value.length);\n```",
    lambda v, r: json.dumps(json.dumps(json.dumps({"deep": [v]}))),
    lambda v, r: f"[{_time(r)}] <{r.choice(NAMES)}> {v}\r\n[{_time(r)}] <bot> ok",
    lambda v, r: str({"role": "user", "content": [("text", v), None, b"bytes"]}),
]

IN_URLS = [lambda v, r: f"GET https://api.example.com/v1/items?page={r.randrange(99)}&q={v}&sort=asc HTTP/1.1"]


def _assigned(names: list[str]) -> list[Callable[[str, random.Random], str]]:
    def name(r: random.Random) -> str:
        return r.choice(names)

    return [
        lambda v, r: f"{name(r)}={v}",
        lambda v, r: f"export {name(r).upper().replace('-', '_')}={v}\n./run.sh",
        lambda v, r: f"{name(r).upper()}='{v}' python app.py",
        lambda v, r: json.dumps({"user": r.choice(NAMES), name(r): v, "retries": 3}),
        lambda v, r: json.dumps({"arguments": json.dumps({name(r): v, "limit": 5})}),
        lambda v, r: str({"user": "anna", name(r): v, "debug": False}),
        lambda v, r: f"database:\n  host: db.internal\n  {name(r)}: {v}\n  port: 5432\n",
        lambda v, r: f'client = Client(url, {name(r)}="{v}", timeout=3)',
        lambda v, r: f'self.{name(r)}: str = "{v}"  # later from the vault',
        lambda v, r: f'os.environ["{name(r).upper()}"] = "{v}"',
        lambda v, r: f"Server=db;Database=app;User Id=sa;{name(r)}={v};Encrypt=true;",
        lambda v, r: f"GET /v1/items?page=2&{name(r)}={v}&sort=asc",
        lambda v, r: f"<{name(r)}>{v}</{name(r)}>",
        lambda v, r: f"ERROR connect(user=anna, {name(r)}={v}, host=db) failed after 3 attempts",
    ]


AS_PASSWORD = [
    *_assigned(["password", "db_password", "passwd", "pwd", "Password", "passphrase", "smtp_pass", "passwort"]),
    lambda v, r: f"tool --verbose --password {v} --retries 3",
    lambda v, r: f"My password is {v}, what should I do?",
    lambda v, r: f"Mein Passwort lautet {v} und ich komme nicht hinein.",
]
AS_SECRET = [
    *_assigned(["api_key", "apiKey", "api-key", "client_secret", "access_token", "secret_key", "auth_token", "SECRET"]),
    lambda v, r: f"tool --verbose --{r.choice(['token', 'api-key'])} {v} --retries 3",
    lambda v, r: f"curl -H 'X-API-Key: {v}' https://api.example.com/v1",
    lambda v, r: f"curl -H 'Ocp-Apim-Subscription-Key: {v}' https://api.example.com/v1",
]
AS_HEADER = [
    lambda v, r: f"curl -H 'Authorization: Bearer {v}' https://api.example.com/v1",
    lambda v, r: f"> GET / HTTP/1.1\n> Host: example.com\n> authorization: Basic {v}\n> Accept: */*",
    lambda v, r: json.dumps({"headers": {"Authorization": f"Bearer {v}", "Accept": "*/*"}}),
    lambda v, r: json.dumps({"request": json.dumps({"headers": {"Authorization": f"Token {v}"}})}),
    lambda v, r: f"request failed, headers={{'Authorization': 'Bearer {v}', 'Accept': '*/*'}}",
    lambda v, r: f"headers = [('accept', '*/*'), ('authorization', 'Bearer {v}')]",
    lambda v, r: f"sent bearer {v} to the gateway",
]
AS_URL_PASSWORD = [
    lambda v, r: f"DATABASE_URL=postgresql://app:{v}@db.internal:5432/app",
    lambda v, r: f"could not connect to mongodb+srv://root:{v}@cluster0.example.net/?retryWrites=true",
    lambda v, r: json.dumps({"broker": f"amqp://guest:{v}@mq:5672//", "workers": 4}),
    lambda v, r: f"git clone https://ci:{v}@git.example.com/team/repo.git",
    lambda v, r: f"redis://:{v}@localhost:6379/0",
]

ANYWHERE = [*PLACES, *IN_URLS]

PLANTED: dict[str, tuple[Callable[[random.Random], str], list[Callable[[str, random.Random], str]]]] = {
    "aws_key": (aws, ANYWHERE),
    "gcp_key": (gcp, ANYWHERE),
    "azure_key": (azure, PLACES),
    "github_token": (github, ANYWHERE),
    "gitlab_token": (gitlab, ANYWHERE),
    "slack_token": (slack, ANYWHERE),
    "stripe_key": (stripe, ANYWHERE),
    "openai_key": (openai, ANYWHERE),
    "sk_key": (sk, ANYWHERE),
    "anthropic_key": (anthropic, ANYWHERE),
    "huggingface_token": (huggingface, ANYWHERE),
    "npm_token": (npm, ANYWHERE),
    "pypi_token": (pypi, ANYWHERE),
    "twilio_key": (twilio, ANYWHERE),
    "sendgrid_key": (sendgrid, ANYWHERE),
    "api_key": (other_vendor, PLACES),
    "jwt": (jwt, ANYWHERE),
    "private_key": (private_key, PLACES),
    "password": (password, AS_PASSWORD),
    "secret": (secret, AS_SECRET),
    "authorization": (lambda r: some(r, r.choice([20, 32, 64])), AS_HEADER),
    "url_password": (password, AS_URL_PASSWORD),
    "card": (card, PLACES),
    "iban": (iban, PLACES),
    "identity_number": (identity_number, PLACES),
    "ssn": (ssn, PLACES),
    "email": (email, ANYWHERE),
    "phone": (phone, PLACES),
}


def planted(seed: int = 1, size: int = 2000) -> list[Text]:
    """Texts with one secret each, every kind equally often; each tenth with a second one of another kind."""
    rng = random.Random(seed)
    texts = []
    for number in range(size):
        kind = list(PLANTED)[number % len(PLANTED)]
        text, secrets = _with(kind, rng)
        if number % 10 == 9:
            more, of_more = _with(rng.choice(list(PLANTED)), rng)
            text, secrets = f"{text}\n{more}", secrets + of_more
        texts.append(Text(text, secrets))
    return texts


def _with(kind: str, rng: random.Random) -> tuple[str, tuple[tuple[str, str], ...]]:
    make, places = PLANTED[kind]
    value = make(rng)
    return rng.choice(places)(value, rng), ((kind, value),)


# ---- what only looks like it


def _failing_luhn(rng: random.Random) -> str:
    digits = rng.choice("123456") + some(rng, rng.choice([13, 14, 15, 17, 18]), string.digits)
    right = check_digit(digits)
    return digits + rng.choice([digit for digit in string.digits if digit != right])


def _date(r: random.Random) -> str:
    return f"20{r.randrange(10, 30)}-{r.randrange(1, 13):02}-{r.randrange(1, 29):02}"


def _time(r: random.Random) -> str:
    return f"{r.randrange(24):02}:{r.randrange(60):02}:{r.randrange(60):02}"


IDS: dict[str, Callable[[str], str]] = {
    "alone": str,
    "in a sentence": lambda digits: f"It was {digits} that failed.",
    "behind a word": lambda digits: f"order {digits} was shipped",
    "in JSON": lambda digits: f'{{"id": {digits}, "n": 1}}',
    "assigned": lambda digits: f"user_id={digits}&n=1",
}
"""Where a number stands that is none of a person's."""


def number(rng: random.Random, size: int) -> str:
    return rng.choice("123456789") + some(rng, size - 1, string.digits)


LOOK_ALIKES: list[Callable[[random.Random], str]] = [
    lambda r: number(r, r.choice([9, 11, 12, 13, 17, 18])),
    lambda r: f"order {number(r, 16)}",
    lambda r: f"trace_id={number(r, r.choice([15, 16, 19]))}",
    lambda r: json.dumps({"order_id": int(number(r, 16)), "phones": r.randrange(99)}),
    lambda r: f"task_re_{some(r, 6, 'abcdef')}_pa-th_secret_sauce_fc-{some(r, 5, HEX)}",
    lambda r: f"part 12{r.randrange(10)}-4{r.randrange(10)}-67{r.randrange(10)} of phone model 15",
    lambda r: str(uuid.UUID(int=r.getrandbits(128), version=4)),
    lambda r: some(r, 40, HEX),
    lambda r: some(r, 64, HEX),
    lambda r: some(r, 32, HEX),
    lambda r: f"commit {some(r, 7, HEX)}",
    lambda r: f"order {r.randrange(10**9, 10**10)}",
    lambda r: f"{some(r, 3, string.digits)}-{some(r, 7, string.digits)}-{some(r, 7, string.digits)}",
    lambda r: f"Rechnung RE-{r.randrange(2020, 2030)}-{r.randrange(10**5):05}",
    lambda r: f"000{r.randrange(10**8, 10**9)}",
    lambda r: f"{_date(r)}T{_time(r)}+0{r.randrange(9)}:00",
    lambda r: f"{_date(r)} {_time(r)},{r.randrange(999):03}",
    lambda r: f"{_date(r)}T{_time(r)}.{r.randrange(10**6):06}Z",
    lambda r: str(r.randrange(1_600_000_000, 1_900_000_000)),
    lambda r: str(r.randrange(1_600_000_000_000, 1_900_000_000_000)),
    lambda r: str(r.randrange(1_600_000_000_000_000_000, 1_900_000_000_000_000_000)),
    lambda r: f"v{r.randrange(9)}.{r.randrange(30)}.{r.randrange(30)}-rc.{r.randrange(9)}",
    lambda r: f"langflow=={r.randrange(9)}.{r.randrange(30)}.{r.randrange(30)}",
    lambda r: f"data:image/png;base64,{base64_of(r, 200)}",
    lambda r: base64_of(r, 90),
    lambda r: f"{r.randrange(10**6):,}.{r.randrange(100):02} EUR",
    lambda r: f"1.{r.randrange(100, 999)}.{r.randrange(100, 999)},{r.randrange(100):02} €",
    lambda r: f"{r.uniform(-90, 90):+.6f}, {r.uniform(-180, 180):+.6f}",
    lambda r: str(r.random()),
    lambda r: f"[{', '.join(f'{r.uniform(-1, 1):.8f}' for _ in range(8))}]",
    lambda r: f"{r.uniform(0, 9):.12e}",
    _failing_luhn,
    lambda r: " ".join(some(r, 4, "12789") for _ in range(3)),
    lambda r: f"/srv/data/{some(r, 8, HEX)}/run-{r.randrange(10**6)}/part-0000{r.randrange(9)}.parquet",
    lambda r: f"C:\\Users\\{r.choice(NAMES)}\\flows\\{some(r, 6)}.json",
    lambda r: f"@{r.choice(NAMES).lower()}_{r.randrange(99)}",
    lambda r: f"lodash@{r.randrange(9)}.{r.randrange(30)}.{r.randrange(30)}",
    lambda r: f"icon-{r.randrange(99)}@2x.png",
    lambda r: "git@github.com:owner/repository.git",
    lambda r: "actions/checkout@v4",
    lambda r: "@app.route('/items')\n@pytest.mark.slow",
    lambda r: f"root@{some(r, 12, HEX)}:/app#",
    lambda r: f"sha256:{some(r, 64, HEX)}",
    lambda r: f"https://example.com:8443/a/b?page={r.randrange(99)}&size=50#top",
    lambda r: f"https://cdn.example.com/npm/@scope/pkg@{r.randrange(9)}.1.0/dist/index.min.js",
    lambda r: f"ISBN 978-3-{r.randrange(10, 99)}-{some(r, 6, string.digits)}-{r.randrange(9)}",
    lambda r: f"+{r.randrange(1, 99)}%",
    lambda r: f"x = {r.randrange(10**4)}+{r.randrange(10**6, 10**8)}",
    lambda r: f"{r.randrange(10**5):05} Köln, Straße {r.randrange(200)}",
    lambda r: "DE00 1234 5678 9012 3456 78",
    lambda r: f"10.0.{r.randrange(255)}.{r.randrange(255)}",
    lambda r: f"MAC {':'.join(some(r, 2, HEX) for _ in range(6))}",
    lambda r: f"trace {some(r, 32, HEX)} span {some(r, 16, HEX)}",
    lambda r: f"sk-{r.choice(['folding-cube', 'circle-fade'])}-container-{r.choice(['small', 'large'])}-item",
    lambda r: f"langflow_component_duration_seconds_bucket{{le=\"0.{r.randrange(99)}\"}} {r.randrange(10**5)}",
]  # fmt: skip

NOT_SECRETS: list[Callable[[random.Random], str]] = [
    lambda r: f"max_tokens={r.randrange(9999)}, temperature=0.{r.randrange(9)}",
    lambda r: json.dumps({"prompt_tokens": r.randrange(9999), "total_tokens": r.randrange(9999)}),
    lambda r: json.dumps({"token": r.choice([" the", "Paris", "ing", "##ed"]), "logprob": -r.random()}),
    lambda r: json.dumps({"event": "token", "data": {"chunk": r.choice(SENTENCES)}}),
    lambda r: json.dumps({"token_type": "bearer", "expires_in": r.randrange(9999)}),
    lambda r: json.dumps({"name": "api_key", "type": "str", "password": True, "required": True, "value": ""}),
    lambda r: "api_key = os.environ['OPENAI_API_KEY']",
    lambda r: 'client = OpenAI(api_key=os.getenv("OPENAI_API_KEY"))',
    lambda r: "client = Client(token=token, password=password, api_key=self.api_key)",
    lambda r: "def login(user: str, password: str, token: Optional[str] = None) -> bool:",
    lambda r: "token = next(tokens)",
    lambda r: "password = getpass.getpass()",
    lambda r: "PASSWORD=${DB_PASSWORD}\nAPI_KEY=$OPENAI_API_KEY",
    lambda r: "api_key: {{ secrets.OPENAI_API_KEY }}",
    lambda r: "headers = {'Authorization': f'Bearer {token}'}",
    lambda r: "Authorization: Bearer <your token>",
    lambda r: "The token is invalid or has expired; please log in again.",
    lambda r: "A password is required. Passwords must have at least 8 characters.",
    lambda r: "Password: must be at least twelve characters long",
    lambda r: "The secret: patience, and a good night's sleep.",
    lambda r: "Das Passwort ist leider falsch.",
    lambda r: "bearer authentication is described in chapter 3",
    lambda r: "401 Unauthorized: authorization header is missing",
    lambda r: "tests passed=12 failed=0, bypass: true, compass: north",
    lambda r: f"cache_key={some(r, 32, HEX)} primary_key=id sort_key=created_at",
    lambda r: "api_key=None, secret=null, token=undefined",
    lambda r: 'raise ValueError("api_key: field required")',
    lambda r: "postgresql://user:{password}@localhost/db",
    lambda r: "postgresql://localhost:5432/db?sslmode=require",
    lambda r: "password=****** token=[redacted] secret=<hidden>",
    lambda r: "The file begins with BEGIN CERTIFICATE, not with a private key.",
    lambda r: "tokenizer: bert-base-uncased, tokens: 512",
    lambda r: "secretary: Anna; the secrets of a good soup",
]  # fmt: skip


def clean(seed: int = 2, size: int = 2000) -> list[Text]:
    """Texts without any secret, rich in what could be taken for one."""
    rng = random.Random(seed)
    texts = []
    for number in range(size):
        if number % 4 == 3:
            texts.append(Text(f"{rng.choice(SENTENCES)}\n{rng.choice(NOT_SECRETS)(rng)}\n{rng.choice(SENTENCES)}"))
        else:
            text = rng.choice(PLACES)(LOOK_ALIKES[number % len(LOOK_ALIKES)](rng), rng)
            texts.append(Text(f"{text} {rng.choice(LOOK_ALIKES)(rng)}" if rng.random() < 0.5 else text))
    return texts


# ---- how well a redaction does


@dataclass(frozen=True)
class Score:
    """Shares from 0 to 1, by kind where the kinds are told apart.

    A marker is wrong in a clean text, or when its text has more of its kind than secrets of it (and more markers
    than secrets at all).
    """

    recall: dict[str, float]
    precision: dict[str, float]
    recall_all: float
    named: float
    clean_unchanged: float
    wrong: dict[str, int]
    leaked: list[tuple[str, Text, str | None]]
    changed: list[tuple[Text, str | None]]


def survives(kind: str, value: str, text: str) -> bool:
    """True if eight characters in a row of the secret are left: of an address, of what stands before the @."""
    value = value.partition("@")[0] if kind == "email" else value
    return value in text or any(value[at : at + 8] in text for at in range(len(value) - 7))


def score(redact: Callable[[str], str | None], secret_texts: list[Text], clean_texts: list[Text]) -> Score:
    total: Counter[str] = Counter()
    found: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    named, leaked, changed = 0, [], []
    for text in secret_texts:
        redacted = redact(text.text) or ""
        for kind, value in text.secrets:
            total[kind] += 1
            named += f"[redacted:{kind}]" in redacted
            if survives(kind, value, redacted):
                leaked.append((kind, text, redacted))
            else:
                found[kind] += 1
        markers = Counter(re.findall(r"\[redacted:(\w+)\]", redacted))
        if sum(markers.values()) > len(text.secrets):
            wrong.update(markers - Counter(kind for kind, _ in text.secrets))
    for text in clean_texts:
        redacted = redact(text.text)
        if redacted != text.text:
            changed.append((text, redacted))
            wrong.update(re.findall(r"\[redacted:(\w+)\]", redacted or ""))
    secrets = sum(total.values())
    return Score(
        recall={kind: found[kind] / number for kind, number in total.items()},
        precision={kind: found[kind] / max(found[kind] + wrong[kind], 1) for kind in total},
        recall_all=sum(found.values()) / secrets,
        named=named / secrets,
        clean_unchanged=1 - len(changed) / len(clean_texts),
        wrong=dict(wrong),
        leaked=leaked,
        changed=changed,
    )
