"""/oauth/authorize and /oauth/callback: what a browser sees of a sign-in."""

from urllib.parse import parse_qs

from litestar import Response, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import FromPath

from vestibule.crypto import random
from vestibule.errors import BadRequestPage, FormExpiredPage, InvalidRequest, StateInvalidPage
from vestibule.oauth import cimd
from vestibule.oauth import clients as rules
from vestibule.oauth.params import parse_query
from vestibule.service import authorizations, callbacks, logins
from vestibule.service.authorizations import Consent, Departure
from vestibule.service.gateway import Gateway, refuse
from vestibule.web import pages
from vestibule.web.cookies import Cookies
from vestibule.web.responses import Asgi, Wired, page_response, redirect

_MOST_FORM_BYTES = 65_536
_MOST_FIELDS = 200


@get("/oauth/authorize")
async def authorize(request: Asgi, gateway: Wired, jar: NamedDependency[Cookies]) -> Response[bytes]:
    """RFC 6749 §4.1.1. Free of side effects: clients and browsers prefetch it."""
    browser = jar.form(request.cookies) or random.token()
    answer = await authorizations.begin(gateway, request.scope["query_string"], browser)
    return _render(gateway, jar, answer, jar.set_form(browser))


@post("/oauth/authorize", status_code=200)
async def decide(request: Asgi, gateway: Wired, jar: NamedDependency[Cookies]) -> Response[bytes]:
    """The consent form. Only our own page may send it, from the browser that was shown it."""
    _check_origin(request, gateway)
    body = await request.body()
    if len(body) > _MOST_FORM_BYTES:
        refuse(BadRequestPage("form_too_large"))
    try:
        form = parse_qs(body.decode("latin-1"), max_num_fields=_MOST_FIELDS)
    except ValueError:
        refuse(BadRequestPage("form_too_large"))
    answer = await authorizations.decide(
        gateway,
        signed=form.get("request", [""])[0],
        browser=jar.form(request.cookies),
        decision=form.get("decision", [""])[0],
        chosen=form.get("permission", []),
    )
    return _render(gateway, jar, answer)


@get("/oauth/callback/{provider:str}")
async def callback(
    request: Asgi, gateway: Wired, jar: NamedDependency[Cookies], provider: FromPath[str]
) -> Response[bytes]:
    """RFC 6749 §4.1.2, as the provider's client."""
    try:
        params = parse_query(request.scope["query_string"])
    except InvalidRequest as error:
        refuse(StateInvalidPage(error.slug, error.detail))
    arrival = await logins.complete(gateway, provider, params, jar.logins(request.cookies))
    return redirect(arrival.url, jar.drop_login(arrival.login_id))


@post("/oauth/callback/{provider:str}", status_code=303)
async def callback_posted(request: Asgi, gateway: Wired, provider: FromPath[str]) -> Response[bytes]:
    """OAuth 2.0 Form Post Response Mode §2: on to the same place by GET, which brings the cookie along."""
    content_type = request.headers.get("content-type", "")
    return redirect(callbacks.hold(gateway, provider, await request.body(), content_type))


def _render(gateway: Gateway, jar: Cookies, answer: Consent | Departure, *more: Cookie) -> Response[bytes]:
    if isinstance(answer, Consent):
        return page_response(pages.render(_consent_page(gateway, answer)), *more)
    if answer.cookie is None:
        return redirect(answer.url)
    return redirect(answer.url, jar.set_login(*answer.cookie, gateway.lifetimes.login))


def _consent_page(gateway: Gateway, consent: Consent) -> pages.ConsentPage:
    client, route, request = consent.client, consent.route, consent.request
    loopback = rules.is_loopback(request.redirect_uri)
    return pages.ConsentPage(
        client_name=client.name,
        client_domain=None if loopback else cimd.domain(client),
        client_source=client.source.value,
        redirect_uri=request.redirect_uri,
        redirect_host=rules.redirect_host(request.redirect_uri),
        loopback=loopback,
        resource_url=request.resource,
        resource_title=route.config.title or route.id,
        permissions=[
            pages.PermissionChoice(
                id=item.id,
                title=item.title,
                description=item.description,
                ticked=item.id in consent.ticked,
                provider_scopes=[
                    (gateway.providers[provider].title, scope)
                    for provider, scopes in item.scopes.items()
                    for scope in scopes
                ],
            )
            for item in route.permissions.items
        ],
        providers=[
            pages.ProviderChoice(id=provider, title=gateway.providers[provider].title)
            for provider in route.config.providers
        ],
        action="/oauth/authorize",
        request=consent.signed,
        notice=consent.notice,
    )


def _check_origin(request: Asgi, gateway: Gateway) -> None:
    """Login CSRF. Our pages send no referrer, and then browsers send `Origin: null` (Fetch, "append a request Origin"),
    so `null` alone proves nothing; `Sec-Fetch-Site` does where it is sent, and the form's cookie binding does always.
    """
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin", gateway.issuer)
    if site not in {"same-origin", "none"} or origin not in {gateway.issuer, "null"}:
        refuse(FormExpiredPage("form_from_other_site"))
