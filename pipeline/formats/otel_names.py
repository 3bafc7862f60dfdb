"""The names of attributes that tell of a model's call, newest first, and how one is looked up."""

from typing import Any

from pipeline.calls import Protocol
from pipeline.formats import otel_langfuse
from pipeline.formats.otlp import Attributes

PROTOCOLS = {
    "chat": None,
    "text_completion": None,
    "generate_content": None,
    "embeddings": None,
    "completion": None,  # OpenLLMetry's older kind of request, and LiteLLM's
    "embedding": None,
    "aembedding": None,
    "atext_completion": None,
    "acompletion": Protocol.OPENAI_CHAT,
    "anthropic_messages": Protocol.ANTHROPIC_MESSAGES,
    "responses": Protocol.OPENAI_RESPONSES,
    "aresponses": Protocol.OPENAI_RESPONSES,
}  # operation → protocol, of the operations that are calls of a model
PROVIDERS = ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system")
REQUEST_MODELS = ("litellm.model_group", "gen_ai.request.model")
INPUTS = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt")
OUTPUTS = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion")  # fmt: skip
READS = (
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_read_input_tokens",
    "llm.token_count.prompt_details.cache_read",
)
WRITES = (
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
    "llm.token_count.prompt_details.cache_write",
)
WRITTEN_1H = "anthropic.usage.cache_creation.ephemeral_1h_input_tokens"
REASONINGS = (
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.usage.reasoning_tokens",
    "llm.token_count.completion_details.reasoning",
)
STREAMS = ("gen_ai.request.stream", "gen_ai.is_streaming", "llm.is_streaming")
COSTS = ("gen_ai.cost.total_cost", "llm.cost.total")
SESSIONS = (
    "gen_ai.conversation.id",
    "session.id",
    "traceloop.association.properties.session_id",
    "langfuse.session.id",
)
TEAMS = ("metadata.user_api_key_team_alias", "metadata.user_api_key_team_id")
FIRST_TOKENS = ("First Token Stream Event", "gen_ai.content.completion.chunk")


def is_call(a: Attributes) -> bool:
    """True for the calls of a model; agents, tools and web requests are none."""
    operation = a.get("gen_ai.operation.name") or a.get("llm.request.type")
    if operation:
        return isinstance(operation, str) and operation in PROTOCOLS
    if kind := a.get("openinference.span.kind"):
        return kind in ("LLM", "EMBEDDING")
    if "gen_ai.request.model" in a and any(name in a for name in PROVIDERS):
        return True
    return a.get(otel_langfuse.KIND) in tuple(otel_langfuse.OPERATIONS)


def first(a: Attributes, names: tuple[str, ...]) -> Any:
    for name in names:
        if name in a and (value := a[name]) is not None and value != "":
            return value
    return None
