"""W3C trace context: which span of the caller's a request belongs to (https://www.w3.org/TR/trace-context/)."""

from __future__ import annotations

import sys


def trace_headers() -> dict[str, str]:
    """``traceparent`` and ``tracestate`` of OpenTelemetry's active span; nothing if there is none.

    Whoever has a span has imported OpenTelemetry, so it need never be imported here.
    """
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None or not hasattr(trace, "get_current_span"):
        return {}
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return {}
    headers = {"traceparent": f"00-{span.trace_id:032x}-{span.span_id:016x}-{int(span.trace_flags):02x}"}
    state = span.trace_state.to_header()
    return {**headers, "tracestate": state} if state else headers
