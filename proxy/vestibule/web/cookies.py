"""Our cookies. `__Host-` binds them to this very host and to https (RFC 6265bis §4.1.3.2); http loopback, where there
is no https, has names of its own, so that the two can never be mixed up.
"""

from collections.abc import Mapping

from litestar.datastructures import Cookie

_LOGIN = "login_"
_FORM = "form"


class Cookies:
    def __init__(self, *, secure: bool) -> None:
        self._secure = secure
        self._prefix = "__Host-vestibule_" if secure else "vestibule_"

    def form(self, sent: Mapping[str, str]) -> str | None:
        """The value that binds consent forms to this browser."""
        return sent.get(self._prefix + _FORM)

    def set_form(self, value: str) -> Cookie:
        return self._cookie(_FORM, value, max_age=None)

    def logins(self, sent: Mapping[str, str]) -> dict[str, str]:
        """Login id → secret of every flow that this browser has under way: several tabs at once work."""
        start = self._prefix + _LOGIN
        return {name.removeprefix(start): value for name, value in sent.items() if name.startswith(start)}

    def set_login(self, login_id: str, secret: str, seconds: int) -> Cookie:
        return self._cookie(_LOGIN + login_id, secret, max_age=seconds)

    def drop_login(self, login_id: str) -> Cookie:
        return self._cookie(_LOGIN + login_id, "", max_age=0)

    def _cookie(self, name: str, value: str, *, max_age: int | None) -> Cookie:
        return Cookie(
            key=self._prefix + name,
            value=value,
            path="/",
            max_age=max_age,
            secure=self._secure,
            httponly=True,
            samesite="lax",  # the callback is a cross-site navigation, which Strict would leave without the cookie
        )
