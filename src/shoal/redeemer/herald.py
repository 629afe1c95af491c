"""Posts notices to webhooks: each post becomes one event, whatever happens."""

from __future__ import annotations

from collections.abc import Sequence

import httpx

from shoal.redeemer import notices
from shoal.redeemer.events import Post, Posted

ANSWER_S = 10.0

#: What a webhook may answer that trying again will not change.
GONE = frozenset({400, 401, 403, 404, 405, 410, 413, 415, 422})


class Herald:
    """The operator's webhooks, by names that are no secret."""

    def __init__(self, urls: Sequence[str], operator: str) -> None:
        """Raises `Refused` if a URL is none to post to."""
        self._urls = {notices.hook_name(url): notices.require_hook(url) for url in urls}
        self._operator = operator
        self._client = httpx.AsyncClient(timeout=ANSWER_S, follow_redirects=False, trust_env=False)

    @property
    def hooks(self) -> tuple[str, ...]:
        """The names of all."""
        return tuple(self._urls)

    async def post(self, effect: Post) -> Posted:
        """Tell one webhook of one redemption."""
        notice, hook = effect.notice, effect.hook
        url = self._urls[hook]
        try:
            async with self._client.stream(
                "POST",
                url,
                json=notices.body(url, notice, self._operator),
                headers={"idempotency-key": notice.id, "user-agent": "shoal"},
            ) as response:  # what it says besides its status is not read
                status = response.status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Posted(notice.id, hook, f"it cannot be reached: {type(error).__name__}")
        if 200 <= status < 300:
            return Posted(notice.id, hook)
        return Posted(notice.id, hook, f"it answers {status}", gone=status in GONE)

    async def close(self) -> None:
        """Hang up."""
        await self._client.aclose()
