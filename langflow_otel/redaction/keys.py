"""Finds keys, tokens and passwords by the prefix of their vendor or by the name before them."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from langflow_otel.redaction import assignments, named_values
from langflow_otel.redaction.scan import MARKER, Finding, Patterns, Scan

_WORD: Final = "[A-Za-z0-9_-]"

VENDORS: Final = (
    ("aws_key", "(?:A3T[A-Z0-9]|AKIA|ASIA|ABIA|ACCA)", r"[A-Z0-9]{16}\b"),
    ("aws_key", "(?:FwoGZXIvYXdz|IQoJb3JpZ2lu|ABSK)", "[A-Za-z0-9/+=]{40,}"),
    ("gcp_key", "AIza", f"{_WORD}{{35,}}"),
    ("gcp_key", r"(?:ya29\.|GOCSPX-)", f"{_WORD}{{20,}}"),
    ("gcp_key", r"(?:AQ\.Ab|1//0)", f"{_WORD}{{30,}}"),
    ("github_token", "gh[pousr]_", "[A-Za-z0-9]{30,}"),
    ("github_token", "github_pat_", "[A-Za-z0-9_]{22,}"),
    ("gitlab_token", "(?:gl(?:pat|dt|ft|soat|rt|rtr|cbt|imt|ptt|agent|oas|ffct)-|GR1348941)", "[A-Za-z0-9_.-]{20,}"),
    ("slack_token", r"(?:xox[abceoprs](?:\.xox[bp])?-|xapp-[0-9]-)", "[A-Za-z0-9-]{10,}"),
    ("stripe_key", "[rs]k_(?:live|test|prod)_", "[A-Za-z0-9]{10,}"),
    ("stripe_key", "whsec_", "[A-Za-z0-9+/=]{24,}"),
    ("anthropic_key", "sk-ant-", f"{_WORD}{{20,}}"),
    ("openai_key", "sk-(?:proj|svcacct|admin|None)-", f"{_WORD}{{20,}}"),
    ("openai_key", "sk-", "[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}"),
    # Also LangFlow's own, DeepSeek's, OpenRouter's, Langfuse's and LangWatch's; ElevenLabs', JigsawStack's, Novita's.
    ("sk_key", "sk[-_]", f"{_WORD}{{20,}}"),
    ("huggingface_token", "(?:hf_|api_org_)", "[A-Za-z0-9]{30,}"),
    ("npm_token", "npm_", "[A-Za-z0-9]{36,}"),
    ("pypi_token", "pypi-Ag", f"{_WORD}{{50,}}"),
    ("twilio_key", "(?:AC|SK)[0-9a-f]", r"[0-9a-f]{31}\b"),
    ("sendgrid_key", r"SG\.", rf"{_WORD}{{16,}}\.{_WORD}{{16,}}"),
    ("jwt", "eyJ", rf"{_WORD}{{8,}}\.{_WORD}{{4,}}(?:\.{_WORD}*){{0,3}}"),
    # Groq, Perplexity, Pinecone, Notion; xAI, NVIDIA; Replicate, LangSmith, Tavily, Databricks, Astra DB
    ("api_key", "(?:gsk_|pplx-|pcsk_|ntn_)", "[A-Za-z0-9_]{40,}"),
    ("api_key", "(?:xai-|nvapi-)", f"{_WORD}{{50,}}"),
    ("api_key", "r8_", "[A-Za-z0-9]{37,}"),
    ("api_key", "(?:lsv2_(?:pt|sk)_|ls__)", "[0-9a-f_]{32,}"),
    ("api_key", "tvly-", "[A-Za-z0-9-]{20,}"),
    ("api_key", "dapi[0-9a-f]", r"[0-9a-f]{31}\b"),
    ("api_key", "AstraCS:", "[A-Za-z0-9:%_-]{30,}"),
    # Telegram, DigitalOcean, Shopify, Vault, Docker Hub, Grafana, New Relic, Supabase
    ("api_key", "[0-9]{8,12}(?::|%3[aA])AA", f"{_WORD}{{33}}"),
    ("api_key", "(?:do[opr]_v1_|shp(?:at|ca|pa|ss)_|sbp_)", "[0-9a-fA-F]{32,}"),
    ("api_key", "sb_secret_", f"{_WORD}{{20,}}"),
    ("api_key", r"(?:hv[sb]\.|dckr_[po]at_)", f"{_WORD}{{24,}}"),
    ("api_key", "(?:glsa|glc)_", "[A-Za-z0-9_+/=]{32,}"),
    ("api_key", "NRAK-", r"[A-Z0-9]{27}\b"),
    # Apify, E2B, Firecrawl, Mailgun, Mem0, ScrapeGraph, Fireworks, Together, Cerebras
    ("api_key", "apify_(?:api|proxy)_", "[A-Za-z0-9]{30,}"),
    ("api_key", "(?:e2b_|fc-|key-)[0-9a-f]", r"[0-9a-f]{31,39}\b"),
    ("api_key", "m0-", r"[A-Za-z0-9]{40}\b"),
    ("api_key", "sgai-", "[0-9a-f-]{36}"),
    ("api_key", "fw_", r"[A-Za-z0-9]{22,24}\b"),
    ("api_key", "(?:tgp_v1_|csk-)", f"{_WORD}{{40,}}"),
    # Jina, Voyage, Zep, Vectara, Twelve Labs, Composio, Browserbase, Brave, Baidu, Alibaba Cloud, Tencent Cloud
    ("api_key", "jina_[0-9a-f]", "[A-Za-z0-9_-]{47,}"),
    ("random_key", "(?:pa-|z_)", "[A-Za-z0-9_.-]{40,}"),
    ("api_key", "(?:zwt_|zqt_|zut_)", f"{_WORD}{{30,}}"),
    ("api_key", "tlk_", "[0-9A-Z]{20,}"),
    ("random_key", "(?:ak_|bb_live_|BSA)", f"{_WORD}{{20,}}"),
    ("api_key", "bce-v3/ALTAK-", "[A-Za-z0-9]{16,}/[0-9a-f]{32,}"),
    ("random_key", "(?:LTAI|AKID)", r"[A-Za-z0-9]{12,36}\b"),
    # Linear, Figma, HubSpot, Atlassian, Bitbucket, Discord, Resend
    ("api_key", "(?:lin_api_|lin_oauth_|figd_|ATATT3|ATCTT3)", f"{_WORD}{{30,}}"),
    ("api_key", "pat-(?:na|eu|ap)[0-9]-", "[0-9a-f-]{36}"),
    ("random_key", "ATBB", r"[A-Za-z0-9]{32}\b"),
    ("api_key", "[MNO][DTjz][AEIMQUYcgk][0-5w-z]", rf"{_WORD}{{18,24}}\.{_WORD}{{6}}\.{_WORD}{{27,}}"),
    ("api_key", "re_[A-Za-z0-9]", r"[A-Za-z0-9]{7}_[A-Za-z0-9]{24}\b"),
    # Postman, Sentry, PlanetScale, Neon, Weights & Biases, age
    ("api_key", "PMAK-", r"[0-9a-f]{24}-[0-9a-f]{34}\b"),
    ("api_key", "(?:sntrys_|sntryu_)", "[A-Za-z0-9_+/=-]{40,}"),
    ("api_key", "pscale_(?:tkn|pw|oauth)_", "[A-Za-z0-9_.-]{30,}"),
    ("api_key", "npg_", r"[A-Za-z0-9]{12,16}\b"),
    ("api_key", "wandb_v1_", f"{_WORD}{{30,}}"),
    ("api_key", "AGE-SECRET-KEY-1", "[0-9A-Z]{50,}"),
)
"""Kind, beginning and rest of what begins a word, in RE2's syntax. The prefixes are those that vendors document.

Those of LangFlow's components are among them. No prefix have Mistral, Cohere, AssemblyAI, SerpAPI, SearchApi, Serper,
Exa, Unstructured, Upstash, Elastic, watsonx, Zilliz, Weaviate, Cleanlab, AgentQL, Glean, SambaNova, Bing: theirs are
known by the name before them, or as a secret input's value.
"""

_AZURE_KEY: Final = "(?:JQQJ99|AZDO|Q~)"
_AZURE_SIGNATURE: Final = "[?&;]sig="
_SLACK_HOOK: Final = r"hooks\.slack\.com/(?:services|workflows|triggers)/"
_KEY_BEGINS: Final = "-{4,5} ?BEGIN "
_PRIVATE_KEY: Final = (
    rf"({_KEY_BEGINS}[A-Z0-9 ]{{0,40}}PRIVATE KEY(?: BLOCK)? ?-{{4,5}}(?:[^-]|-{{1,3}}[^-])*"
    r"(?:-{4,5} ?END [A-Z0-9 ]{0,40} ?-{4,5})?)"
)
_URL_LOGIN: Final = r"://[^\s/?#:\"'<>\\\[]*:([^\s/\"'<>\\]+)@"
_XML: Final = rf"(?i:{assignments.NAMES})>([^<>\s]+)</"
_COOKIE: Final = r"\b(?i:cookie\\*[\"']? ?: ?\\*[\"']?)"
_NETRC: Final = r"\blogin\s+\S+\s+password\s+(\S+)"
_USER_FLAG: Final = r"(?:-u|--user)[ =][\"']?[A-Za-z_][^\s:\"']*:([^\s\"']{3,})"
_SIGNATURE: Final = "(?i:[?&, -]signature=)"

_KEY_BODY: Final = re.compile(
    rb"(?:-{4,5}[^-]{0,80}-{4,5})"
    rb"(?:(?:\s|\\[nrt])*(?:[A-Za-z0-9+/=]{16,}|[A-Z][A-Za-z-]{2,20}: [^\n\\]{0,200}))*"
    rb"(?:(?:\s|\\[nrt])*[A-Za-z0-9+/=]+\Z)?"
)
_KEY_END: Final = re.compile(rb"END [A-Z0-9 ]{0,40} ?-{4,5}\Z")
_ALNUM: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_PLACEHOLDER_PASSWORD: Final = re.compile(rb"[$%{]*[{(][\w.]*[})]|\$\w+|\*+|x{3,}|X{3,}|\.{3}")

_ANY_DIGIT: Final = re.compile(rb"[0-9]")

Judge = Callable[[Scan, Any, str], "Finding | None"]


def compiled() -> tuple[Callable[[Scan], Iterator[Finding]], ...]:
    """The search for keys, ready to run. Raises ImportError without ``google-re2``."""
    vendors = Patterns([(rf"(?:\b|_){begin}", rf"(?:\b|_)({begin}{rest})") for _, begin, rest in VENDORS])

    def vendor(secret: bytes, kind: str) -> str:
        number = vendors.first_in(secret)
        return kind if number is None else VENDORS[number][0].replace("random_key", "api_key")

    rules: list[tuple[str, str, str, Judge]] = [("secret", *named_values.QUOTED_NAME, _quoted)]
    rules.append(("secret", *named_values.KEYWORD, _keyword))
    rules += [
        (kind, rf"(?:\b|_){begin}", rf"(?:\b|_)({begin}{rest})", _JUDGES.get(kind, _whole))
        for kind, begin, rest in VENDORS
    ]
    rules += [
        # Telegram's own URLs: https://api.telegram.org/bot123456789:AA...
        ("api_key", r"\bbot[0-9]{8,12}(?::|%3[aA])AA", rf"\bbot([0-9]{{8,12}}(?::|%3[aA])AA{_WORD}{{33}})", _whole),
        ("secret", assignments.HEAD, assignments.HEAD, _assignment),
        ("private_key", _KEY_BEGINS, _PRIVATE_KEY, _private_key),
        ("private_key", "Private-Lines: ", r"Private-Lines: [0-9]+((?:\s+[A-Za-z0-9+/=]{16,})+)", _whole),
        ("private_key", r"\bLS0tLS1CRUdJTi", r"\b(LS0tLS1CRUdJTi[A-Za-z0-9+/=]{40,})", _base64_key),
        ("azure_key", _AZURE_KEY, rf"({_AZURE_KEY}[A-Za-z0-9_~.-]{{4,}})", _azure_key),
        ("azure_key", _AZURE_SIGNATURE, rf"{_AZURE_SIGNATURE}([A-Za-z0-9%+/=_-]{{20,}})", _whole),
        ("slack_token", _SLACK_HOOK, rf"{_SLACK_HOOK}([A-Za-z0-9_/+-]{{20,}})", _whole),
        ("url_password", _URL_LOGIN, _URL_LOGIN, _url_password),
        ("authorization", r"\b(?i:authorization)", assignments.AUTHORIZATION, _authorization),
        ("authorization", r"\b(?i:bearer) ", r"\b(?i:bearer) +([A-Za-z0-9_~+/.=-]{16,})", _bearer),
        ("cookie", _COOKIE, rf"{_COOKIE}([^\s=\"'\\;,]+=[^\r\n\"'\\]+)", _whole),
        ("password", r"\blogin\s", _NETRC, _whole),
        ("password", "(?:-u|--user)[ =]", _USER_FLAG, _user_flag),
        ("secret", _SIGNATURE, rf"{_SIGNATURE}([A-Za-z0-9%+/=_-]{{20,}})", _whole),
        ("secret", _XML, _XML, _xml),
        ("secret", assignments.FLAG, assignments.FLAG, _flag),
        # Notion's older ones; behind the names, of which "secret_key" begins alike.
        ("random_key", r"\bsecret_", r"\b(secret_[A-Za-z0-9]{43})\b", _random_key),
    ]
    patterns = Patterns([(begin, whole) for _, begin, whole, _ in rules])

    def find(scan: Scan) -> Iterator[Finding]:
        for number, match in patterns.matches(scan):
            kind, _, _, judge = rules[number]
            found = judge(scan, match, kind)
            if found is None and judge in (_quoted, _keyword):
                scan.at, scan.passed_on = match.start() + 1, True
                continue
            if found is None:
                # What stands behind a name or a scheme may still be something else.
                start = match.start(1)
                scan.at = start if start > match.start() else match.end()
                continue
            start, scan.at, kind = found[:3]
            if not MARKER.fullmatch(scan.raw, start, scan.at):
                general = kind in ("secret", "password", "authorization", "url_password")
                name = vendor(scan.raw[start : scan.at], kind) if general else kind
                yield (start, scan.at, name) if len(found) == 3 else (start, scan.at, name, *found[3:])

    return find, named_values.in_tables


def _quoted(scan: Scan, match: Any, kind: str) -> Finding | None:
    return named_values.value_of_quoted(scan.raw, match.start(1) - 1)


def _keyword(scan: Scan, match: Any, kind: str) -> Finding | None:
    return named_values.value_of_keyword(scan.raw, match.start(1))


def _whole(scan: Scan, match: Any, kind: str) -> Finding:
    start, end = match.span(1)
    return start, end, kind


def _private_key(scan: Scan, match: Any, kind: str) -> Finding:
    start, end = match.span(1)
    if not _KEY_END.search(scan.raw, max(start, end - 70), end):
        # Cut off, or only spoken of: the marker goes as far as the text looks like a key.
        body = _KEY_BODY.match(scan.raw, start)
        end = end if body is None else body.end()
    return start, end, kind


def _base64_key(scan: Scan, match: Any, kind: str) -> Finding | None:
    start, end = match.span(1)
    # A certificate begins alike, and is public.
    return (start, end, kind) if b" PRIVATE " in base64.b64decode(scan.raw[start : start + 52]) else None


def _user_flag(scan: Scan, match: Any, kind: str) -> Finding | None:
    start, end = match.span(1)
    # docker run --user node:node
    return None if scan.raw[start:end].islower() and scan.raw[start:end].isalpha() else (start, end, kind)


def _azure_key(scan: Scan, match: Any, kind: str) -> Finding | None:
    # The signature stands inside of the key.
    start, end = match.span(1)
    if scan.raw[start : start + 2] == b"Q~":
        return (start - 4, end, kind) if start >= 4 and 31 <= end - start - 2 <= 36 else None
    lowest = max(start - 80, 0)
    start = lowest + len(scan.raw[lowest:start].rstrip(_ALNUM))
    return (start, end, kind) if 60 <= end - start <= 100 else None


def _sk_key(scan: Scan, match: Any, kind: str) -> Finding | None:
    start, end = match.span(1)
    # Not a class of CSS: "sk-folding-cube-container-small".
    return (start, end, kind) if assignments.looks_random(scan.raw[start + 3 : end]) else None


def _random_key(scan: Scan, match: Any, kind: str) -> Finding | None:
    start, end = match.span(1)
    # The beginning is a word's as well: a digit and letters of both sizes tell.
    rest = scan.raw[start:end]
    return (start, end, "api_key") if assignments.looks_random(rest) and _ANY_DIGIT.search(rest) else None


def _jwt(scan: Scan, match: Any, kind: str) -> Finding | None:
    start, end = match.span(1)
    parts = scan.raw[start:end].split(b".", 2)
    return (start, end, kind) if len(parts) > 2 or parts[1].startswith(b"ey") else None


def _url_password(scan: Scan, match: Any, kind: str) -> Finding | None:
    start, end = match.span(1)
    return None if _PLACEHOLDER_PASSWORD.fullmatch(scan.raw, start, end) else (start, end, kind)


def _authorization(scan: Scan, match: Any, kind: str) -> Finding | None:
    start, end = match.span(1)
    return (start, end, kind) if assignments.is_credential(scan.raw, match.start(), start, end) else None


def _bearer(scan: Scan, match: Any, kind: str) -> Finding | None:
    start, end = match.span(1)
    return (start, end, kind) if assignments.looks_random(scan.raw[start:end]) else None


def _xml(scan: Scan, match: Any, kind: str) -> Finding | None:
    start, end = match.span(1)
    return assignments.judged(scan.raw, start, end, scan.raw[match.start() : start - 1], "quoted")


def _flag(scan: Scan, match: Any, kind: str) -> Finding | None:
    return assignments.value_of_flag(scan.raw, match.start(), match.end())


def _assignment(scan: Scan, match: Any, kind: str) -> Finding | None:
    return assignments.value_after(scan.raw, match.start(), *match.span(1))


_JUDGES: Final[dict[str, Judge]] = {"sk_key": _sk_key, "jwt": _jwt, "random_key": _random_key}
