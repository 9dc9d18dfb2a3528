"""A call to a server is tried again if the failure may pass. Used by download."""

import time
from collections.abc import Callable

BUSY = (429, 500, 502, 503, 504)  # HTTP status codes of a server that may answer later
# Errors of a broken transfer, by the names in requests (kagglehub) and in httpx (Hugging Face):
# neither has to be installed.
BROKEN = {"ChunkedEncodingError", "Timeout", "TimeoutException", "RemoteProtocolError", "ReadError"}


def with_retries(call: Callable[[], str]) -> str:
    """-> what `call` returns; it is called up to three times if the transfer or server fails."""
    for wait in (2, 10, None):
        try:
            return call()
        except Exception as error:
            status = getattr(getattr(error, "response", None), "status_code", 0)
            kinds = {kind.__name__ for kind in type(error).__mro__}
            may_work_later = status in BUSY or bool(kinds & BROKEN)
            if wait is None or not may_work_later:
                raise
            reason = " ".join(str(error).split())
            print(f"{reason[:120]}: trying again in {wait} s", flush=True)
            time.sleep(wait)
