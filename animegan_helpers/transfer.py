"""A call to a server is tried again if the failure may pass. Used by download."""

import time
from collections.abc import Callable

BUSY = (429, 500, 502, 503, 504)  # HTTP status codes of a server that may answer later


def with_retries(call: Callable[[], str]) -> str:
    """-> what `call` returns; it is called up to three times if the transfer or server fails."""
    import requests

    broken = (requests.exceptions.ChunkedEncodingError, requests.exceptions.Timeout)
    for wait in (2, 10, None):
        try:
            return call()
        except Exception as error:
            status = getattr(getattr(error, "response", None), "status_code", 0)
            may_work_later = status in BUSY or isinstance(error, broken)
            if wait is None or not may_work_later:
                raise
            reason = " ".join(str(error).split())
            print(f"{reason[:120]}: trying again in {wait} s", flush=True)
            time.sleep(wait)
