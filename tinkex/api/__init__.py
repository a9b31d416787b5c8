"""One function per endpoint: typed in, typed out, no state, no sleeping, no retrying."""
