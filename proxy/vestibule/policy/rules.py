"""Who may use a route: a list of rules is any-of, one rule is all-of (design decision 8).

Chosen against suffixes, globs and names: every comparison is exact after one canonical form, because each looser one
has been an incident (`evilacme.com` ends in `acme.com`; `a@evil@corp` splits at either `@`; a group called `admins`
exists at every provider). Groups and subjects therefore name their provider. People and services are different types,
and nothing written for one admits the other.
"""

import re
from typing import Literal

import idna
from msgspec import Struct

from vestibule.config import AllowRule
from vestibule.model import Identity, Principal, Service

_LOCAL = re.compile(r"[^\s@<>()\[\],;:\\\"\x00-\x1f\x7f]+")
_HOST = re.compile(r"(?!-)[a-z0-9-]+(?<!-)(?:\.(?!-)[a-z0-9-]+(?<!-))*")


class _Rule(Struct, frozen=True, kw_only=True):
    """One compiled entry: None is no condition."""

    provider: str | None = None
    email: str | None = None
    email_domain: str | None = None
    group: tuple[str, str] | None = None
    subject: tuple[str, str, str] | None = None
    service: str | None = None

    def admits(self, person: Identity, address: str | None, domain: str | None) -> bool:
        return (
            self.service is None
            and self.provider in (None, person.provider)
            and self.email in (None, address)
            and self.email_domain in (None, domain)
            and (self.group is None or (self.group[0] == person.provider and self.group[1] in (person.groups or ())))
            and self.subject in (None, (person.provider, person.tenant, person.subject))
        )


class AllowRules:
    """Compiled rules of one route; `judge` is the only question."""

    def __init__(self, rules: tuple[_Rule, ...] | None) -> None:
        self._rules = rules
        """None: anyone, that is, any person."""

    def judge(self, principal: Principal) -> str | None:
        """None when allowed, else a stable reason slug. E-mail counts only if verified (CVE-2026-40574)."""
        if isinstance(principal, Service):
            admitted = any(rule.service in (principal.id, "*") for rule in self._rules or ())
            return None if admitted else "service_not_allowed"
        claimed = (principal.email and _canonical_email(principal.email)) or (None, None)
        proven = claimed if principal.email_verified else (None, None)
        if self._rules is None or any(rule.admits(principal, *proven) for rule in self._rules):
            return None
        if any(rule.admits(principal, *claimed) for rule in self._rules):
            return "email_not_verified"
        return "not_on_allow_list"


def compile_rules(raw: Literal["anyone"] | tuple[AllowRule, ...]) -> AllowRules:
    """ValueError, naming the entry, for rules that could never match: they would hide a mistake."""
    if raw == "anyone":
        return AllowRules(None)
    if not raw:
        raise ValueError("allow: the list is empty, so nobody could sign in")
    return AllowRules(tuple(_compile(rule, f"allow[{index}]") for index, rule in enumerate(raw)))


def _compile(rule: AllowRule, where: str) -> _Rule:
    texts = (rule.provider, rule.email, rule.email_domain, rule.group, rule.subject, rule.service)
    if all(text is None for text in texts):
        raise ValueError(f"{where}: an entry without conditions never matches; `allow: anyone` admits any person")
    if any(text is not None and not text.strip() for text in texts):
        raise ValueError(f"{where}: a condition is empty")
    if rule.service is not None and any(text is not None for text in texts[:-1]):
        raise ValueError(f"{where}: `service` cannot be combined with conditions on a person")
    email = _canonical_email(rule.email) if rule.email is not None else None
    if rule.email is not None and email is None:
        raise ValueError(f"{where}.email: {rule.email!r} is not one e-mail address")
    domain = _canonical_domain(rule.email_domain) if rule.email_domain is not None else None
    if rule.email_domain is not None and domain is None:
        raise ValueError(f"{where}.email_domain: {rule.email_domain!r} is not a domain name")
    return _Rule(
        provider=rule.provider,
        email=email[0] if email else None,
        email_domain=domain,
        group=_group(rule.group, where) if rule.group is not None else None,
        subject=_subject(rule.subject, where) if rule.subject is not None else None,
        service=rule.service,
    )


def _group(text: str, where: str) -> tuple[str, str]:
    provider, _, group = text.partition(":")
    if not provider or not group:
        raise ValueError(f"{where}.group: {text!r} is not `<provider>:<group>`")
    return provider, group


def _subject(text: str, where: str) -> tuple[str, str, str]:
    """`provider:subject` or `provider:tenant:subject`; the tenant may be empty, for a subject that has a colon itself.

    Split from the left and only so: were `p:a:b` also the tenant-less subject `a:b`, one identity could pose as the
    other.
    """
    parts = text.split(":", 2)
    provider, tenant, subject = parts if len(parts) == 3 else (parts[0], "", parts[-1])  # noqa: PLR2004
    if not provider or not subject or len(parts) == 1:
        raise ValueError(f"{where}.subject: {text!r} is not `<provider>:<subject>` or `<provider>:<tenant>:<subject>`")
    return provider, tenant, subject


def _canonical_email(text: str) -> tuple[str, str] | None:
    """(address, domain) in the form that is compared, or None for anything but one plain address (RFC 5321 §4.1.2).

    Case is ignored in ASCII only: Unicode folding makes one mailbox of two (`ß` and `ss`, the Kelvin sign and `k`).
    """
    local, at, host = text.partition("@")
    domain = _canonical_domain(host)
    if not at or domain is None or not _LOCAL.fullmatch(local):
        return None
    local = local.lower() if local.isascii() else local
    return f"{local}@{domain}", domain


def _canonical_domain(text: str) -> str | None:
    """The A-label form in lower case (RFC 5891), non-transitional: `faß.de` is not `fass.de`."""
    if not text.isascii():
        try:
            text = idna.encode(text, uts46=True, transitional=False).decode()
        except idna.IDNAError:
            return None
    text = text.lower()
    return text if _HOST.fullmatch(text) else None
