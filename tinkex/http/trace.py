"""W3C trace context headers, which name the caller's span (https://www.w3.org/TR/trace-context/)."""

from __future__ import annotations

import sys


def trace_headers() -> dict[str, str]:
    """Return ``traceparent`` and ``tracestate`` of the active OpenTelemetry span, or nothing if there is none.

    A program with a span has imported OpenTelemetry, so this module does not import it.
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
