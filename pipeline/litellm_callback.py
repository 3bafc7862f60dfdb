"""LiteLLM's calls to Kafka: a callback that runs inside LiteLLM's proxy. Two lines in its config:

    litellm_settings:
      callbacks: ["pipeline.litellm_callback.cutover"]

Each record goes, as LiteLLM made it but without its copy of the price map, tracebacks and headers,
to the topic `llm.calls`. A thread with an event loop of its own does all the work: it batches,
spools to disk while Kafka is away, and drops, and counts, only when that disk is full. LiteLLM
neither waits for it nor fails with it. Settings are the `CUTOVER_…` variables; see
docs/gateways/litellm.md. Imports nothing of the rest but the producer, since it is LiteLLM's process.
"""

import asyncio
import atexit
import logging
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import msgspec
from litellm.integrations.custom_logger import CustomLogger

from pipeline.kafka import CallProducer
from pipeline.settings import Settings

log = logging.getLogger(__name__)

FORMAT = "litellm"
STOP_SECONDS = 10.0
DRAIN_SECONDS = 5.0
_LEFT_OUT = ("model_map_information", "autorouter_savings", "autorouter_savings_estimate")
_LABELS = "x-cutover-"
_encode = msgspec.json.Encoder(enc_hook=str, decimal_format="number").encode


class KafkaLogger(CustomLogger):  # type: ignore[misc]
    """Takes every success, failure and stream that LiteLLM logs, attempts of retries and fallbacks too."""

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__()
        self._settings = settings
        self._sender: _Sender | None = None
        self._starting = threading.Lock()

    async def async_log_success_event(
        self, kwargs: Mapping[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        self._take(kwargs)

    async def async_log_failure_event(
        self, kwargs: Mapping[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        self._take(kwargs)

    def stop(self) -> None:
        """Sends what waits, for some seconds; what Kafka does not take stays in the spool."""
        with self._starting:
            sender, self._sender = self._sender, None
        if sender:
            sender.stop()

    def _take(self, kwargs: Mapping[str, Any]) -> None:
        """Hands one record over; whatever goes wrong is logged, and the call goes on."""
        try:
            payload = kwargs.get("standard_logging_object")
            if payload:
                self._started().put(_encode(slimmed(payload)), _key(payload))
        except Exception:
            log.exception("a call is missing in Kafka")

    def _started(self) -> "_Sender":
        """The sender, begun by the first record: a server that forks does so before that."""
        with self._starting:
            if self._sender is None:
                self._sender = _Sender(self._settings or Settings.read())
            return self._sender


class _Sender:
    """The producer, in a thread and an event loop of its own."""

    def __init__(self, settings: Settings) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(_Inline())
        self._producer = CallProducer(settings, "litellm")
        self._thread = threading.Thread(target=self._loop.run_forever, name="cutover", daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._producer.start(), self._loop)

    def put(self, line: bytes, key: str) -> None:
        self._loop.call_soon_threadsafe(self._producer.put_line, line, key, FORMAT)

    def stop(self) -> None:
        try:
            asyncio.run_coroutine_threadsafe(self._producer.stop(), self._loop).result(STOP_SECONDS)
        except Exception:
            log.exception("not all calls are in Kafka or in the spool")
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_SECONDS)


class _Inline(ThreadPoolExecutor):
    """Does things at once: the sender's thread waits for nobody, and at exit no other thread can begin."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except BaseException as error:
            done.set_exception(error)
        return done


def slimmed(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The record without what is large or may hold keys. The payload is LiteLLM's: it stays as it is."""
    record = _without(payload, *_LEFT_OUT)
    if error := record.get("error_information"):
        record["error_information"] = _without(error, "traceback")
    if told := record.get("metadata"):
        record["metadata"] = _without(told, "requester_custom_headers")
        headers = told.get("requester_custom_headers") or {}
        if labels := {name: v for name, v in headers.items() if name.startswith(_LABELS)}:
            record["metadata"]["requester_custom_headers"] = labels
        if caller := told.get("requester_metadata"):
            record["metadata"]["requester_metadata"] = _without(caller, "headers")
    return record


def _without(told: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in told.items() if name not in names}


def _key(payload: Mapping[str, Any]) -> str:
    """What all records of a conversation, or at least of a request, share."""
    names = ("session_id", "trace_id", "litellm_call_id", "id")
    return next((str(payload[name]) for name in names if payload.get(name)), "")


cutover = KafkaLogger()


async def _finish() -> None:
    """Lets LiteLLM log what it has not logged yet, then sends it."""
    worker = getattr(
        sys.modules.get("litellm.litellm_core_utils.logging_worker"), "GLOBAL_LOGGING_WORKER", None
    )
    try:
        if worker:
            await asyncio.wait_for(worker.flush(), DRAIN_SECONDS)
    except Exception:
        log.exception("LiteLLM has not logged all of its calls")
    await asyncio.to_thread(cutover.stop)


def _finish_before(proxy: Any) -> None:
    """Puts `_finish` before the proxy's own shutdown: after it the server ends itself by a signal."""
    ends = proxy.proxy_shutdown_event

    async def proxy_shutdown_event(*args: Any, **kwargs: Any) -> Any:
        await _finish()
        return await ends(*args, **kwargs)

    proxy.proxy_shutdown_event = proxy_shutdown_event


atexit.register(cutover.stop)
_proxy = sys.modules.get("litellm.proxy.proxy_server")
if hasattr(_proxy, "proxy_shutdown_event"):
    _finish_before(_proxy)
