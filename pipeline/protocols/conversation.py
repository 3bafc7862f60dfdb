"""What a request says of the conversation it belongs to: an id in its body, or how it begins.

Every turn of a conversation repeats the system prompt and the user's first message, so their heads
tell conversations apart where nothing names them. Pure; see `scoring/conversation.py` for its use.
"""

import re
from typing import Any

from pipeline.protocols.values import as_dict, as_text, decode, parts_text

CONVERSATION_HEADERS = (
    "x-cutover-conversation",
    "x-conversation-id",
    "x-session-id",
    "x-claude-code-session-id",
    "session_id",  # Codex
    "helicone-session-id",
)
HEAD = 2000  # characters of each part that count: enough to differ, little enough to be cheap

_SYSTEM_ROLES = ("system", "developer")
_OLD_CLAUDE_SESSION = re.compile(r"_session_([0-9a-fA-F-]+)$")


def conversation_in(request: dict[str, Any]) -> str:
    """The id a body names: Claude Code's session, `metadata`'s, the Responses API's `conversation`.

    `user`, other forms of `user_id` and `prompt_cache_key` name a person or a shared prefix.
    """
    metadata, conversation = as_dict(request.get("metadata")), request.get("conversation")
    if not metadata and not conversation:
        return ""
    return (
        _claude_code_session(as_text(metadata.get("user_id")))
        or as_text(metadata.get("conversation_id"))
        or as_text(metadata.get("session_id"))
        or as_text(conversation)
        or as_text(as_dict(conversation).get("id"))
    )


def opening(request: dict[str, Any], messages: list[dict[str, Any]]) -> str:
    """The heads of the system prompt and the first user message; "" if there is no such message."""
    first, system = as_text(request.get("messages") or request.get("input")), ""
    for message in messages:
        role = message.get("role")
        if role == "user":
            first = parts_text(message.get("content"))
            break
        if role in _SYSTEM_ROLES:
            system += parts_text(message.get("content"))[:HEAD]
    if not first:
        return ""
    given = parts_text(request.get("system")) or as_text(request.get("instructions"))
    system = (given or system)[:HEAD]
    return f"{len(system)}:{system}{first[:HEAD]}"


def _claude_code_session(user_id: str) -> str:
    """In its old form the end of the id, in its new one a field of the JSON that the id is."""
    if "_session_" in user_id and (match := _OLD_CLAUDE_SESSION.search(user_id)):
        return match[1]
    if not user_id.startswith("{"):
        return ""
    try:
        return as_text(as_dict(decode(user_id)).get("session_id"))
    except ValueError:
        return ""
