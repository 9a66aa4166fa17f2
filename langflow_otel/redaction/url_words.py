"""Words that paths of known APIs are made of: of model providers, vector stores, messengers and offices, of collectors,
and LangFlow's own."""

from __future__ import annotations

from typing import Final

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
