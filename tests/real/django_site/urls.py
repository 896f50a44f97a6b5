"""Sentry's addresses, an API behind the token, the login page, and `/control/` for the tests alone."""

import json
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from oauth2_provider.models import AccessToken, RefreshToken
from oauth2_provider.views import AuthorizationView, IntrospectTokenView, ProtectedResourceView, RevokeTokenView

from real.django_site.sentry_shape import SentryShapedTokenView, calls, fault, person


class MeView(ProtectedResourceView):
    def unauthenticated_response(self, *_: Any, **__: Any) -> JsonResponse:
        """The toolkit says 403; Sentry, and RFC 6750 §3.1, say 401."""
        return JsonResponse({"detail": "Invalid token"}, status=401)

    def get(self, request: HttpRequest) -> JsonResponse:
        return JsonResponse({**person(request.resource_owner), "username": request.resource_owner.get_username()})


def home(request: HttpRequest) -> HttpResponse:
    return HttpResponse("up", content_type="text/plain")


@csrf_exempt
def control_fault(request: HttpRequest) -> JsonResponse:
    """POST {"mode": "none" | "slow" | "error" | "html", "seconds": 3}: from now on, until changed."""
    wanted = json.loads(request.body)
    fault.mode, fault.seconds = wanted["mode"], float(wanted.get("seconds", 0))
    return JsonResponse({"mode": fault.mode})


@csrf_exempt
def control_revoke(request: HttpRequest) -> JsonResponse:
    """POST {"username": …}: all of that user's tokens end, as when an administrator removes the application."""
    user = get_user_model().objects.get(username=json.loads(request.body)["username"])
    for token in RefreshToken.objects.filter(user=user, revoked__isnull=True):
        token.revoke()
    AccessToken.objects.filter(user=user).delete()
    return JsonResponse({})


def control_state(request: HttpRequest) -> JsonResponse:
    """GET ?username=…: that user's live tokens, and how often each grant type was asked for since the start."""
    live = {"user__username": request.GET["username"]}
    return JsonResponse(
        {
            "access_tokens": AccessToken.objects.filter(**live, expires__gt=timezone.now()).count(),
            "refresh_tokens": RefreshToken.objects.filter(**live, revoked__isnull=True).count(),
            "calls": dict(calls),
        }
    )


oauth_urls = (
    [
        path("authorize/", AuthorizationView.as_view(), name="authorize"),
        path("token/", SentryShapedTokenView.as_view(), name="token"),
        path("revoke/", RevokeTokenView.as_view(), name="revoke-token"),
        path("introspect/", IntrospectTokenView.as_view(), name="introspect"),
    ],
    "oauth2_provider",
)

urlpatterns = [
    path("", home),
    path("login/", LoginView.as_view()),
    path("oauth/", include(oauth_urls)),
    path("api/0/me/", MeView.as_view()),
    path("control/fault", control_fault),
    path("control/revoke", control_revoke),
    path("control/state", control_state),
]
