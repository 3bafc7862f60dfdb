"""One taxonomy for all vendors: every row of the facts, and the traps, as data."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.calls import Call, Exchange, Failure, Fault, ToolCall, VendorError
from pipeline.catalog import load_catalog
from pipeline.scoring.failures import MESSAGE_LENGTH, classify, fault_of
from pipeline.yamlfile import load

CATALOG = load_catalog()


class Case(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A call of `tests/data/failures.yml`."""

    says: str
    provider: str
    status: int | None = 200
    error: VendorError | None = None
    text: str = "Hello."
    finish: str = "stop"
    ended: bool | None = True
    tool_call: bool = False
    findings: tuple[str, ...] = ()
    cancelled: bool = False
    transport: str = ""
    failure: Failure | None = None


CASES = load(Path(__file__).parent / "data" / "failures.yml", list[Case])


def call(
    *, status: int | None = 200, cancelled: bool = False, transport: str = "", **exchange
) -> Call:
    return Call(
        call_id="c",
        source="test",
        http_status=status,
        cancelled=cancelled,
        transport_error=transport,
        exchange=Exchange(**exchange),
    )


def failure_of(provider: str, **fields) -> Failure | None:
    found = classify(CATALOG, call(**fields), provider)
    return found.failure if found else None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.says)
def test_the_trap(case: Case) -> None:
    """The case's sentence is true."""
    found = failure_of(
        case.provider,
        status=case.status,
        cancelled=case.cancelled,
        transport=case.transport,
        error=case.error,
        text=case.text if case.status is None or case.status < 300 else "",
        finish_reason=case.finish,
        ended=case.ended,
        findings=case.findings,
        tool_calls=(ToolCall("1", "look_up", "{}"),) if case.tool_call else (),
    )
    assert found == case.failure


def rows(table):
    """(provider id, key, class) of one table of every provider's file."""
    return [
        pytest.param(provider.id, key, failure, id=f"{provider.id}-{key}")
        for provider in CATALOG.providers.values()
        for key, failure in table(provider.file.errors).items()
    ]


@pytest.mark.parametrize(("provider", "code", "failure"), rows(lambda errors: errors.codes))
def test_a_vendors_code_wins_over_the_status(provider, code, failure) -> None:
    """Each code of each vendor has its class whatever the status, catch-alls aside."""
    if code not in CATALOG.failures.catch_all_codes:
        for status in (None, 200, 400, 401, 429, 500, 503):
            assert failure_of(provider, status=status, error=VendorError(code=code)) == failure
            assert failure_of(provider, status=status, error=VendorError(type=code)) == failure


@pytest.mark.parametrize(("provider", "status", "failure"), rows(lambda errors: errors.http_status))
def test_a_status_alone_is_read_by_the_vendors_table(provider, status, failure) -> None:
    """A body without a known word leaves the decision to the vendor's statuses."""
    assert failure_of(provider, status=int(status)) == failure
    assert failure_of(provider, status=int(status), error=VendorError(code="?!")) == failure


@pytest.mark.parametrize(
    ("provider", "pattern"),
    [
        (p.id, pattern)
        for p in CATALOG.providers.values()
        for pattern in p.file.errors.message_patterns
    ],
)
def test_words_of_the_message_tell_where_there_is_no_code(provider, pattern) -> None:
    """Each message pattern works inside a longer sentence, in any letter case."""
    message = f"Sorry: {pattern.text.upper()} (id 7)."
    assert failure_of(provider, status=400, error=VendorError(message=message)) == pattern.failure


def test_a_specific_code_is_not_overruled_by_the_callers_words() -> None:
    """A message that quotes the prompt cannot turn a wrong key into an overlong prompt."""
    error = VendorError(code="invalid_api_key", message="while reading 'prompt is too long'")
    assert failure_of("anthropic", status=401, error=error) == Failure.AUTH


@pytest.mark.parametrize("failure", list(Failure))
def test_every_class_is_charged_to_someone(failure: Failure) -> None:
    """The facts give a fault and a meaning in both languages for every class."""
    assert fault_of(CATALOG, failure) in Fault
    meaning = CATALOG.failures.classes[failure].meaning
    assert meaning.en
    assert meaning.zh


def test_faults_are_told_apart() -> None:
    """A full provider is to blame for itself, a caller for its request, nobody for a hang-up."""
    assert fault_of(CATALOG, Failure.OVERLOADED) == Fault.PROVIDER
    assert fault_of(CATALOG, Failure.INVALID_REQUEST) == Fault.CALLER
    assert fault_of(CATALOG, Failure.CONTENT_FILTER) == Fault.CALLER
    assert fault_of(CATALOG, Failure.NETWORK) == Fault.NETWORK
    assert fault_of(CATALOG, Failure.CANCELLED) == Fault.CLIENT


def test_a_message_is_short_one_line_and_without_keys() -> None:
    """What is stored of a vendor's message is at most 200 characters and holds no secret."""
    message = "Incorrect API key provided: sk-ant-api03-Abcdefgh12345678.\n  " + "Try again. " * 100
    error = VendorError(code="invalid_api_key", message=message)
    found = classify(CATALOG, call(status=401, error=error), "openai")
    assert found
    assert found.message.startswith("Incorrect API key provided: [redacted]")
    assert len(found.message) <= MESSAGE_LENGTH
    assert "\n" not in found.message


@given(
    status=st.none() | st.integers(0, 700),
    code=st.text(max_size=20),
    type_=st.text(max_size=20),
    message=st.text(max_size=400),
    provider=st.sampled_from(["", "nobody", *CATALOG.providers]),
    finish=st.text(max_size=10),
    ended=st.sampled_from([None, True, False]),
)
def test_any_error_gets_a_class(status, code, type_, message, provider, finish, ended) -> None:
    """Whatever a vendor says, there is one class, and its fault is the table's."""
    error = VendorError(code=code, type=type_, message=message)
    found = classify(
        CATALOG, call(status=status, error=error, finish_reason=finish, ended=ended), provider
    )
    assert found
    assert found.fault == fault_of(CATALOG, found.failure)
    assert len(found.message) <= MESSAGE_LENGTH
