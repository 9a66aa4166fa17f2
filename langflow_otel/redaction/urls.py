"""Removes values from URLs: keys, names and questions in paths and queries.

Of a path are kept versions and the words of a closed list, and nothing that only looks like a word: a token, a password
or a question of one word does, too. ``REDACTED`` stands for the rest, as the conventions have it for ``url.full``.
"""

from __future__ import annotations

import re
from typing import Final

REDACTED: Final = "REDACTED"

_MOST_SEGMENTS: Final = 32

_VERSION: Final = re.compile(r"v[0-9]{1,2}(?:[._][0-9]{1,2})?(?:alpha|beta)?[0-9]{0,2}", re.IGNORECASE)
_SCHEME: Final = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]{0,20})?")
# A host in any script, an address of IPv6; and a port. Of a socket's file (http+unix) it is a path, and there is none.
_PLACE: Final = re.compile(r"(?:[\w.-]{0,253}|\[[0-9A-Fa-f:.]{2,45}(?:%[\w.%-]{1,40})?\])(?::[0-9]{0,5})?")
_PARAMETER: Final = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]{0,40}(?::[a-z]{1,10})?\}")
_LONGEST_OF_TEMPLATE: Final = 40

# Linear: each begins at a sign that it does not have again.
_QUOTED: Final = re.compile(r"""(["'`])([A-Za-z][A-Za-z0-9+.-]{0,20}://[^"'`\n]*)\1""")
_ADDRESS: Final = re.compile(r"""://[^\s"'<>`|]+""")
_QUERY: Final = re.compile(r"""\?[^\s"'<>`|?=]+=[^\s"'<>`|]*""")
_URL_OF_URLLIB3: Final = re.compile(r"""with url: [^\s"'<>`|]+""")
_CLOSING: Final = ").,;:]}"


def path_without_values(path: str, hidden: str = REDACTED) -> str:
    """The path with each segment that is no known word of an API hidden, without query and fragment.

    Args:
        path: Such as ``/v1/users/42/files?name=x``; ``/v1/users/REDACTED/files`` comes out.
        hidden: Stands for what is hidden.
    """
    path = path.partition("?")[0].partition("#")[0]
    segments = path.split("/", _MOST_SEGMENTS)
    if len(segments) > _MOST_SEGMENTS:
        segments[-1] = hidden
    return "/".join(each if not each or _is_word(each) else hidden for each in segments)


def template_without_values(template: str) -> str:
    """A route, such as ``/orders/{id}``, as it stands; any other path or URL without its values."""
    segments = template.split("/")
    is_template = (
        "://" not in template
        and any(map(_PARAMETER.fullmatch, segments))
        and not any(sign in template for sign in "%?# ")
    )
    if is_template and all(len(each) <= _LONGEST_OF_TEMPLATE for each in segments):
        return template
    return url_without_values(template)


def url_without_values(url: str, *, whole_path: bool = False, hidden: str = REDACTED) -> str:
    """Scheme, host and port of a URL and its path without values; neither user, password, query nor fragment.

    Args:
        url: With a scheme, or only a path.
        whole_path: True to keep the path as it is.
        hidden: Stands for what is hidden.
    """
    url = url.partition("?")[0].partition("#")[0]
    scheme, found, rest = url.partition("://")
    if found and _SCHEME.fullmatch(scheme) is None:
        return hidden
    if not found:
        return url if whole_path else path_without_values(url, hidden)
    place, slash, path = rest.partition("/")
    host = place.rpartition("@")[2]
    if _PLACE.fullmatch(host) is None:
        # Such as half of a password with a slash in it: then the host is somewhere behind it.
        return f"{scheme}://{hidden}"
    return f"{scheme}://{host}{slash}{path if whole_path else path_without_values(path, hidden)}"


def name_without_values(name: str) -> str:
    """The name of a span, such as ``GET /orders/42``, without the values of paths and URLs in it."""
    if "/" not in name:
        return name
    return " ".join(_word_of_name(word) for word in name.split(" "))


def _word_of_name(word: str) -> str:
    if "://" in word:
        return url_without_values(word)
    return template_without_values(word) if word.startswith("/") else word


def text_without_url_values(text: str) -> str:
    """The text with the URLs in it without their values, and what looks like a query without its end.

    For messages of exceptions: HTTP clients quote the whole URL of a call that failed.
    """
    if "://" in text:
        # Between quotes it may hold spaces.
        text = _QUOTED.sub(lambda found: f"{found[1]}{url_without_values(found[2])}{found[1]}", text)
        text = _ADDRESS.sub(_address_without_values, text)
    if "with url: " in text:
        text = _URL_OF_URLLIB3.sub(lambda found: f"with url: {url_without_values(found[0][10:])}", text)
    return _QUERY.sub(f"?{REDACTED}", text) if "?" in text else text


def _address_without_values(found: re.Match[str]) -> str:
    address = found[0].rstrip(_CLOSING)
    return url_without_values(address) + found[0][len(address) :]


def _is_word(segment: str) -> bool:
    return segment.lower() in WORDS or _VERSION.fullmatch(segment) is not None


# Known words of paths


_TEXT: Final = (
    ".well-known _all_docs _bulk _count _doc _mget _msearch _search _update a2a access account accounts action "
    "actions activities add admin advanced agent agent.json agents all alpha answer answers api api_key apis app "
    "apps archive assistants attachments audio auth authorize auto_login basic_examples batch batches beta blocks "
    "body bot build builds bulk calendar calendars call callback callbacks cancel channels charges chat "
    "chat.postmessage check classify client clients cloud code collections collector comments complete completion "
    "completions components config contact contacts containers content contents conversations converse converse- "
    "converse-stream count create customers data databases datasets delete deployments detokenize dev devices "
    "documents download downloads draft drafts drive edit edits embed embed_content embedding embeddings engine "
    "engines entities entries error errors event events execute export external extract feature-extraction feed "
    "feeds fetch file files find fine-tuning fine_tuning flow flows folders follow forms forward function functions "
    "gateway generate generations get graphql groups health health_check healthz history hook hooks http https "
    "image images import index indexes indices inference info ingest input insert insights internal invites "
    "invoices invoke invoke-with-response-stream issues items job jobs json jsonrpc key keys labels latest list "
    "lists load locations login logout logs mail mails mcp me members memory message messages metadata metrics "
    "model models moderations monitor namespaces native news notes notifications oauth oauth2 object objects "
    "open-apis openai opentelemetry order orders organizations orgs otel otlp output pages payments people ping "
    "pipeline pipelines play points post posts predict prediction predictions private process prod product products "
    "profile profiles project projects prompt prompts proxy public public_flow publish pull pulls push put pyapi "
    "queries query queue queues raw read ready record records refresh register remove reply reports repos "
    "repositories request requests rerank reset resources responses rest result results resume retrieve rooms root "
    "rows rpc run runs schema schemas score scrape scroll search searches secure select send sendaudio senddocument "
    "sendmessage sendphoto server servers service services session sessions settings sheets show similarity sites "
    "speech spreadsheets sse staging starter-projects stats status steps stop store stream streamable streaming "
    "streams submit subscribe subscriptions suggest summarize sync system tables tag tags task tasks teams template "
    "templates tenants terms test text text-to-speech thread threads tickets token tokenize tokens tool tools "
    "topics traces track training transactions transcribe transcriptions transform translate translations trigger "
    "triggers tts update updates upload uploads upsert user users validate variables variations vector-stores "
    "vector_stores vectors verify vertices videos view views voice voices watch web webhook webhooks whoami wiki "
    "workflow workflows workspaces write ws"
)

WORDS: Final = frozenset(_TEXT.split())
"""In lower case. A key or a prompt that is one of them gives nothing away that is not in this list."""
