"""One class per wire code. `description` is public and generic; `slug` is the stable reason for logs, metrics and
support; `detail` goes to the log only, because what helps an operator also helps an attacker.
"""

from typing import ClassVar


class Refusal(Exception):
    """Anything that Vestibule refuses. Never carries a secret: slugs and details are written to logs."""

    status: ClassVar[int] = 400
    description: ClassVar[str] = "The request was refused."

    def __init__(self, slug: str, detail: str = "", *, description: str | None = None) -> None:
        super().__init__(slug)
        self.slug = slug
        self.detail = detail
        self.public = description or self.description


# --- OAuth errors, answered as JSON at endpoints and as redirect parameters at authorize -----------------------------


class OAuthError(Refusal):
    code: ClassVar[str] = "invalid_request"


class InvalidRequest(OAuthError):
    """A parameter is missing, repeated or malformed (RFC 6749 §4.1.2.1, §5.2)."""

    description = "The request is missing a parameter, repeats one, or is malformed."


class InvalidClient(OAuthError):
    """Unknown client or failed client authentication (RFC 6749 §5.2)."""

    status, code = 401, "invalid_client"
    description = "The client is unknown here or failed to authenticate. Register it again."


class InvalidGrant(OAuthError):
    """Code or refresh token unknown, expired, used, or another client's (RFC 6749 §5.2)."""

    code, description = "invalid_grant", "The grant is invalid, expired or revoked."


class UnauthorizedClient(OAuthError):
    """The client may not use this grant type (RFC 6749 §5.2)."""

    code, description = "unauthorized_client", "The client may not use this grant type."


class UnsupportedGrantType(OAuthError):
    """RFC 6749 §5.2."""

    code, description = "unsupported_grant_type", "This grant type is not supported."


class UnsupportedResponseType(OAuthError):
    """RFC 6749 §4.1.2.1."""

    code, description = "unsupported_response_type", "Only response_type=code is supported."


class InvalidScope(OAuthError):
    """Malformed, or none of the requested permissions exists on the route (RFC 6749 §3.3)."""

    code, description = "invalid_scope", "None of the requested permissions exists here."


class InvalidTarget(OAuthError):
    """The resource is unknown, or several routes exist and none was named (RFC 8707 §2)."""

    code, description = "invalid_target", "The resource is missing, malformed or not served here."


class AccessDenied(OAuthError):
    """The user or the policy said no (RFC 6749 §4.1.2.1)."""

    status, code, description = 403, "access_denied", "Access was denied."


class ConsentRequired(OAuthError):
    """`prompt=none`, but the consent page is never skipped for it (OpenID Connect Core §3.1.2.6)."""

    code, description = "consent_required", "The user has to be asked, so prompt=none is not possible."


class ServerError(OAuthError):
    """RFC 6749 §4.1.2.1; only ever sent as a redirect parameter, where no HTTP 500 can be."""

    status, code, description = 500, "server_error", "Something went wrong here. Try again."


class TemporarilyUnavailable(OAuthError):
    """A provider cannot be reached now; an extension of RFC 6749 §5.2, so that clients keep their tokens."""

    status, code = 503, "temporarily_unavailable"
    description = "The identity provider cannot be reached right now. Try again shortly."
    retry_after_seconds: ClassVar[int] = 5


class InvalidRedirectUri(OAuthError):
    """RFC 7591 §3.2.2."""

    code, description = "invalid_redirect_uri", "No usable redirect URI was given."


class InvalidClientMetadata(OAuthError):
    """RFC 7591 §3.2.2."""

    code, description = "invalid_client_metadata", "The client metadata is malformed."


# --- the gate's answers (RFC 6750 §3.1, MCP authorization) ------------------------------------------------------------


class GateError(Refusal):
    """Refused at the gate. `error` is the RFC 6750 code, None when no key was sent at all."""

    error: ClassVar[str | None] = None


class KeyMissing(GateError):
    """RFC 6750 §3: without credentials the challenge carries no error code."""

    status, description = 401, "A key is needed. Sign in through the authorization server."


class KeyInvalid(GateError):
    """Unknown, expired or revoked, or a key of another route (RFC 6750 §3.1 invalid_token)."""

    status, error = 401, "invalid_token"
    description = "The key is unknown, expired, revoked, or for another resource."


class PermissionMissing(GateError):
    """RFC 6750 §3.1 insufficient_scope; `permissions` is what one challenge must ask for, all at once."""

    status, error = 403, "insufficient_scope"
    description = "The key lacks a permission that this request needs."

    def __init__(self, slug: str, permissions: tuple[str, ...], detail: str = "") -> None:
        super().__init__(slug, detail)
        self.permissions = permissions


class Forbidden(GateError):
    """Nothing the user could obtain would help, so no step-up challenge is sent: clients would loop."""

    status, description = 403, "This request is not allowed."


class NotRouted(GateError):
    status, description = 404, "Nothing is served at this address."


class BadRequest(GateError):
    """Ambiguous path, malformed MCP body, header smuggling: never forwarded."""

    status, description = 400, "The request is malformed or ambiguous and was not forwarded."


class BodyTooLarge(GateError):
    status, description = 413, "The request body is larger than this route allows."


class RequestTimeout(GateError):
    """RFC 9110 §15.5.9."""

    status, description = 408, "The request body did not arrive in time."


class BackendFailed(GateError):
    status, description = 502, "The backend could not be reached or broke its answer off."


class BackendTimeout(GateError):
    status, description = 504, "The backend did not answer in time."


class Unavailable(GateError):
    status, description = 503, "The gateway cannot decide about this request right now. Try again shortly."


# --- what a person at a browser is told -------------------------------------------------------------------------------


class PageError(Refusal):
    """Shown as a page: what happened, and what to do next."""

    title: ClassVar[str] = "This did not work"
    advice: ClassVar[str] = "Go back to your application and start again."


class UnknownClientPage(PageError):
    """Shown, never redirected: the redirect URI of an unknown client is not to be trusted (RFC 6749 §4.1.2.1)."""

    code: ClassVar[str] = "invalid_client"
    title = "This application is not known here"
    description = "The application's registration has expired or was made somewhere else."
    advice = "In your application, remove this server, add it again, and sign in once more."


class BadRedirectPage(PageError):
    code: ClassVar[str] = "invalid_request"
    title = "The application asked to send you to a place it did not register"
    description = "The redirect address does not match any that the application registered, so nothing was sent there."
    advice = "If you trust the application, remove this server from it, add it again, and sign in once more."


class BadRequestPage(PageError):
    title = "The sign-in request is not complete"
    description = "A parameter of the sign-in request is missing or malformed."


class FormExpiredPage(PageError):
    title = "This page was open for too long"
    description = "The sign-in request has expired, was already answered, or belongs to another browser."


class StateInvalidPage(PageError):
    title = "This sign-in link is not valid"
    description = "The address that brought you here was changed on its way, or was not made by this gateway."


class StateExpiredPage(PageError):
    title = "The sign-in took too long"
    description = "A sign-in has to be completed within ten minutes."


class StateReplayedPage(PageError):
    title = "This sign-in was already used"
    description = "Each sign-in link works once. It was opened a second time."


class OtherBrowserPage(PageError):
    status = 403
    title = "This sign-in belongs to another browser"
    description = "The sign-in was started elsewhere, so it cannot be completed in this browser."
    advice = "If you did not start it, close this page: somebody may have tried to make you sign in for them."


class ProviderDeniedPage(PageError):
    status = 403
    title = "The identity provider did not sign you in"
    description = "You declined, or the provider refused the sign-in."


class ProviderUnavailablePage(PageError):
    status = 503
    title = "The identity provider cannot be reached"
    description = "It did not answer, or answered with an error of its own. Nothing was changed."
    advice = "Wait a minute, then go back to your application and try again."


class ProviderMisconfiguredPage(PageError):
    status = 502
    title = "The connection to the identity provider is not set up correctly"
    description = "The provider's answer does not fit its configuration here. The operator has to look at it."
    advice = "Give the trace id below to whoever runs this gateway."


class NotAllowedPage(PageError):
    status = 403
    title = "You are signed in, but not allowed in"
    description = "This resource is limited to certain people, and your account is not among them."
    advice = "Ask whoever runs this gateway for access, or sign in with another account."
