"""What Sentry does beyond RFC 6749: `user` and an ISO `expires_at` in the token response, and no `scope` on refresh.

The token endpoint can be made to misbehave (`Fault`), and counts what it was asked, for the tests of bad input.
"""

import json
import time
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from oauth2_provider.oauth2_validators import OAuth2Validator
from oauth2_provider.views import TokenView

HTML_GARBAGE = "<!doctype html><title>502</title><h1>Bad gateway</h1><p>The proxy in front of the provider says this."


@dataclass
class Fault:
    """How the token endpoint behaves now; one process serves all requests, so a module variable is enough."""

    mode: Literal["none", "slow", "error", "html"] = "none"
    seconds: float = 0.0


fault = Fault()
calls: Counter[str] = Counter()


def person(user: Any) -> dict[str, str | None]:
    """Sentry's `user`: the id is a string, name and e-mail may be null."""
    return {"id": str(user.pk), "name": user.first_name or None, "email": user.email or None}


class SentryShapedValidator(OAuth2Validator):
    def save_bearer_token(self, token: dict[str, Any], request: Any, *args: Any, **kwargs: Any) -> Any:
        """The library encodes `token` after it was saved, so what is added here reaches the client."""
        saved = super().save_bearer_token(token, request, *args, **kwargs)
        ends = timezone.now() + timedelta(seconds=token["expires_in"])
        token["expires_at"] = ends.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        token["user"] = person(request.user)
        return saved


class SentryShapedTokenView(TokenView):
    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        grant_type = request.POST.get("grant_type", "")
        calls[grant_type] += 1
        if fault.mode == "slow":
            time.sleep(fault.seconds)
        if fault.mode == "error":
            return JsonResponse({"error": "server_error"}, status=500)
        if fault.mode == "html":
            return HttpResponse(HTML_GARBAGE, content_type="text/html")
        if grant_type == "refresh_token" and "scope" in request.POST:
            description = json.dumps({"error": "invalid_request", "error_description": "scope is not allowed here"})
            return HttpResponse(description, status=400, content_type="application/json")
        return super().post(request, *args, **kwargs)
