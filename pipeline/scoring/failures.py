"""Why a call did not give its user an answer, in one taxonomy for all vendors, and whose fault it is.

What is looked at, the first that tells something:

1. the client hung up;
2. an error in the vendor's own words, in an error body or inside a 200 answer: its code, then its
   type (also where a gateway quotes them), then words of its message, then the HTTP status. Where a code says too little (a `coarse`
   class, or a catch-all like `invalid_request_error`) the message is asked before it;
3. an HTTP status that is not 2xx;
4. no answer, or half of one, from the network;
5. a finish reason that is a failure in disguise;
6. a 2xx answer that cannot be read, stops before its end, or holds nothing.

An answer cut by its length limit is not a failure. The tables are in `facts/`.
"""

import re

import msgspec

from pipeline.calls import Call, Exchange, Failure, Fault, VendorError
from pipeline.catalog import Catalog, Provider
from pipeline.facts.schema import FinishClass
from pipeline.scoring.redact import redact

MESSAGE_LENGTH = 200
_LOOKED_AT = 2_000  # characters of a message; some vendors send whole pages

_QUOTED = re.compile(r"""["'](?:code|type)["']\s*:\s*["']?([A-Za-z0-9_.]+)""")

_FAILED_FINISH = {
    FinishClass.CONTENT_FILTER: Failure.CONTENT_FILTER,
    FinishClass.CONTEXT_LENGTH: Failure.CONTEXT_LENGTH,
    FinishClass.OVERLOADED: Failure.OVERLOADED,
    FinishClass.ERROR: Failure.SERVER_ERROR,
}
_MAY_BE_EMPTY = (FinishClass.LENGTH, FinishClass.PAUSE)


class FailureFinding(msgspec.Struct, frozen=True):
    """A failure: its class, the vendor's code or word for it, a short redacted message, the fault."""

    failure: Failure
    code: str
    message: str
    fault: Fault


def classify(catalog: Catalog, call: Call, provider_id: str) -> FailureFinding | None:
    """The call's failure, or None if it gave an answer.

    `provider_id` is as resolved by the catalog; "" falls back to the protocols' own words.
    """
    found = _find(catalog, call, provider_id)
    if not found:
        return None
    failure, code, message = found
    text = redact(" ".join(message[:_LOOKED_AT].split()))[:MESSAGE_LENGTH]
    return FailureFinding(failure, redact(code)[:MESSAGE_LENGTH], text, fault_of(catalog, failure))


def fault_of(catalog: Catalog, failure: Failure) -> Fault:
    """Who a failure of this class is charged to, by `facts/failures.yml`."""
    return catalog.failures.classes[failure].fault


def _find(catalog: Catalog, call: Call, provider_id: str) -> tuple[Failure, str, str] | None:
    """(class, code, message) of the failure."""
    exchange, status = call.exchange, call.http_status
    if call.cancelled:
        return Failure.CANCELLED, "", ""
    if error := exchange.error:
        failure = _vendor_error(catalog, provider_id, error, status)
        return failure, error.code or error.type or _text(status), error.message
    if status is not None and not 200 <= status < 300:
        return _status(catalog, provider_id, status), str(status), f"HTTP status {status}"
    if call.transport_error:
        timeout = "timeout" in call.transport_error.lower()
        return Failure.TIMEOUT if timeout else Failure.NETWORK, call.transport_error, ""
    return _finish(catalog, exchange, provider_id)


def _finish(
    catalog: Catalog, exchange: Exchange, provider_id: str
) -> tuple[Failure, str, str] | None:
    meaning = catalog.finish_class(provider_id, exchange.finish_reason)
    if meaning in _FAILED_FINISH:
        return _FAILED_FINISH[meaning], exchange.finish_reason, ""
    if "unreadable_body" in exchange.findings:
        return Failure.MALFORMED, "unreadable_body", ""
    if exchange.ended is False:
        return Failure.TRUNCATED_STREAM, exchange.finish_reason, ""
    if exchange.ended and not _holds_something(exchange) and meaning not in _MAY_BE_EMPTY:
        return Failure.EMPTY, exchange.finish_reason, ""
    return None


def _holds_something(exchange: Exchange) -> bool:
    return bool(exchange.text.strip() or exchange.tool_calls or exchange.refusal)


def _vendor_error(
    catalog: Catalog, provider_id: str, error: VendorError, status: int | None
) -> Failure:
    """The class of an error: by its code or type, by the words of its message, by the status."""
    speakers = catalog.speakers(provider_id)
    catch_all = catalog.failures.catch_all_codes
    words = [word for word in (error.code, error.type, *_quoted(error.message)) if word]
    telling = (_code(catalog, speakers, word) for word in words if word not in catch_all)
    by_code = next(filter(None, telling), None)
    if by_code and not catalog.failures.classes[by_code].coarse:
        return by_code
    return (
        _message(catalog, speakers, error.message)
        or by_code
        or _known_status(catalog, provider_id, status)
        or next((catch_all[word] for word in words if word in catch_all), None)
        or _status(catalog, provider_id, status)
    )


def _quoted(message: str) -> list[str]:
    """Codes and types in a vendor's error body that a gateway passed on inside its own message."""
    return _QUOTED.findall(message[:_LOOKED_AT])


def _code(catalog: Catalog, speakers: tuple[Provider, ...], word: str) -> Failure | None:
    """What the first provider that knows the word means by it, else what gateways mean."""
    known = next(filter(None, (_code_at(provider, word) for provider in speakers)), None)
    return known or catalog.failures.gateway_codes.get(word)


def _code_at(provider: Provider, word: str) -> Failure | None:
    """In one provider's tables: the word itself, its longest dotted prefix, a pattern."""
    prefix = word
    while prefix:
        if found := provider.file.errors.codes.get(prefix):
            return found
        prefix = prefix.rpartition(".")[0]
    return next(
        (failure for pattern, failure in provider.code_patterns if pattern.search(word)), None
    )


def _message(catalog: Catalog, speakers: tuple[Provider, ...], message: str) -> Failure | None:
    """By words in the message: this vendor's, the protocols' definers', then anyone's."""
    said = message[:_LOOKED_AT].lower()
    for provider in speakers:
        for text, failure in provider.message_patterns:
            if text in said:
                return failure
    general = catalog.failures.message_patterns
    return next((pattern.failure for pattern in general if pattern.text.lower() in said), None)


def _known_status(catalog: Catalog, provider_id: str, status: int | None) -> Failure | None:
    """By a status that the vendor's table lists, else the general one."""
    provider = catalog.providers.get(provider_id)
    own = provider.file.errors.http_status if provider else {}
    return own.get(_text(status)) or catalog.failures.http_status.get(_text(status))


def _status(catalog: Catalog, provider_id: str, status: int | None) -> Failure:
    """By any status; an error inside a 2xx answer, or without a status, is the server's."""
    hundreds = f"{_text(status)[:1]}xx"
    found = _known_status(catalog, provider_id, status) or catalog.failures.http_status.get(
        hundreds
    )
    return found or Failure.SERVER_ERROR


def _text(status: int | None) -> str:
    return "" if status is None else str(status)
