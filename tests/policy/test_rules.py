"""Who may use a route: rules as tables, and the ways around them that others left open."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.config import AllowRule
from vestibule.model import Identity, Service
from vestibule.policy.rules import compile_rules

ANN = Identity(
    provider="github",
    subject="42",
    email="Ann@Acme.com",
    email_verified=True,
    groups=("acme", "acme/platform"),
)


def person(**changes):
    return Identity(**{name: getattr(ANN, name) for name in ANN.__struct_fields__} | changes)


def judge(principal, *rules):
    return compile_rules(tuple(AllowRule(**rule) for rule in rules)).judge(principal)


@pytest.mark.parametrize(
    "rule",
    [
        {"provider": "github"},
        {"email": "ann@acme.com"},
        {"email": "ANN@ACME.COM"},
        {"email_domain": "acme.com"},
        {"email_domain": "ACME.com"},
        {"group": "github:acme/platform"},
        {"subject": "github:42"},
        {"subject": "github::42"},
        {"provider": "github", "email_domain": "acme.com", "group": "github:acme", "subject": "github:42"},
    ],
)
def test_rule_admits(rule):
    """Each condition alone, and all of them."""
    assert judge(ANN, rule) is None


@pytest.mark.parametrize(
    "rule",
    [
        {"provider": "gitlab"},
        {"email": "bob@acme.com"},
        {"email_domain": "example.com"},
        {"group": "github:acme/other"},
        {"group": "github:Acme/Platform"},
        {"subject": "github:43"},
        {"subject": "github:acme:42"},
        {"provider": "gitlab", "email_domain": "acme.com"},
        {"email_domain": "acme.com", "group": "github:acme/other"},
        {"service": "*"},
    ],
)
def test_rule_does_not_admit(rule):
    """An entry is all-of, and every comparison is exact."""
    assert judge(ANN, rule) == "not_on_allow_list"


def test_list_is_any_of():
    """Design decision 8."""
    assert judge(ANN, {"email_domain": "example.com"}, {"subject": "github:42"}) is None
    assert judge(ANN, {"email_domain": "example.com"}, {"subject": "github:43"}) == "not_on_allow_list"


def test_anyone_is_any_person():
    """`allow: anyone` needs no e-mail and no group, but a person."""
    assert compile_rules("anyone").judge(Identity(provider="x", subject="1")) is None


@pytest.mark.parametrize("rule", [{"email": "ann@acme.com"}, {"email_domain": "acme.com"}])
def test_attack_unverified_email(rule):
    """CVE-2026-40574: anybody can type somebody else's address at a provider that does not check it."""
    assert judge(person(email_verified=False), rule) == "email_not_verified"
    assert judge(person(email_verified=False, email="x@other.com"), rule) == "not_on_allow_list"
    assert judge(person(email=None), rule) == "not_on_allow_list"


def test_unverified_email_does_not_spoil_other_rules():
    """Only e-mail conditions need a verified address."""
    assert judge(person(email_verified=False), {"email_domain": "acme.com"}, {"group": "github:acme"}) is None


@pytest.mark.parametrize(
    "email",
    [
        "a@evil@acme.com",
        "a@acme.com@evil.com",
        '"a@evil"@acme.com',
        "a@evil.com,b@acme.com",
        "a@evil.com b@acme.com",
        "Ann <a@evil.com>@acme.com",
        "a\n@acme.com",
        "a\u2028@acme.com",
        "@acme.com",
        "acme.com",
        "a@",
        "@",
        "",
        "a@acme.com\n",
        "a@acme.com.",
        "a@.acme.com",
        "a@[acme.com]",
    ],
)
def test_attack_email_with_two_readings(email):
    """`a@evil@corp`: one plain address with exactly one @, or no address at all."""
    assert judge(person(email=email), {"email_domain": "acme.com"}) == "not_on_allow_list"


@pytest.mark.parametrize(
    "domain",
    ["evilacme.com", "acme.com.evil.com", "sub.acme.com", "acme.co", "xacme.com", "acme-com.example", "\u0430cme.com"],
)
def test_attack_domain_that_looks_like_ours(domain):
    """No suffix matching, no subdomains, no confusables (the last one begins with a Cyrillic letter)."""
    assert judge(person(email=f"a@{domain}"), {"email_domain": "acme.com"}) == "not_on_allow_list"


@pytest.mark.parametrize(
    ("rule", "domain", "reason"),
    [
        ("bücher.example", "bücher.example", None),
        ("bücher.example", "BÜCHER.example", None),
        ("bücher.example", "xn--bcher-kva.example", None),
        ("xn--bcher-kva.example", "Bücher.Example", None),
        ("fass.example", "faß.example", "not_on_allow_list"),
        ("bücher.example", "bucher.example", "not_on_allow_list"),
        ("acme.com", "a\u0000cme.com", "not_on_allow_list"),
    ],
)
def test_international_domains(rule, domain, reason):
    """RFC 5891, non-transitional: both spellings of one domain are equal, and `ß` is not `ss`."""
    assert judge(person(email=f"a@{domain}"), {"email_domain": rule}) == reason


@pytest.mark.parametrize(
    ("mine", "theirs"), [("strasse", "straße"), ("kate", "\u212aate"), ("sam", "\u017fam"), ("jose", "jos\u00e9")]
)
def test_attack_mailbox_that_folds_to_ours(mine, theirs):
    """Unicode case folding would make one mailbox of two different ones; case is ignored in ASCII only."""
    rule = {"email": f"{mine}@acme.com"}
    assert judge(person(email=f"{theirs}@acme.com"), rule) == "not_on_allow_list"
    assert judge(person(email=f"{mine.upper()}@acme.com"), rule) is None


@pytest.mark.parametrize(
    "rule",
    [{"group": "github:acme/platform"}, {"subject": "github:42"}, {"provider": "github", "email_domain": "acme.com"}],
)
def test_attack_provider_b_opens_a_route_meant_for_provider_a(rule):
    """A self-hosted provider can hand out any group, id or address; rules name whose word counts."""
    assert judge(person(provider="acme-sso"), rule) == "not_on_allow_list"


def test_attack_group_that_spells_another_provider():
    """A group called `github:acme` at provider B is still B's group."""
    intruder = person(provider="b", groups=("github:acme", "acme"))
    assert judge(intruder, {"group": "github:acme"}) == "not_on_allow_list"
    assert judge(intruder, {"group": "b:github:acme"}) is None


@pytest.mark.parametrize(
    ("rule", "tenant", "subject", "reason"),
    [
        ("entra:t1:o1", "t1", "o1", None),
        ("entra:t1:o1", "t2", "o1", "not_on_allow_list"),
        ("entra:t1:o1", "", "t1:o1", "not_on_allow_list"),
        ("entra:t1:o1:x", "t1", "o1:x", None),
        ("entra:t1:o1:x", "t1:o1", "x", "not_on_allow_list"),
        ("entra:o1", "t1", "o1", "not_on_allow_list"),
        ("entra::urn:x", "", "urn:x", None),
        ("entra:O1", "", "o1", "not_on_allow_list"),
    ],
)
def test_subjects_and_tenants(rule, tenant, subject, reason):
    """Design decision 7: (provider, tenant, subject); a subject with a colon cannot pose as one of a tenant."""
    principal = Identity(provider="entra", tenant=tenant, subject=subject)
    assert judge(principal, {"subject": rule}) == reason


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ([{"service": "ci"}], None),
        ([{"service": "*"}], None),
        ([{"service": "other"}], "service_not_allowed"),
        ([{"service": "CI"}], "service_not_allowed"),
        ([{"provider": "github"}], "service_not_allowed"),
        ([{"email_domain": "acme.com"}, {"service": "ci"}], None),
    ],
)
def test_services_need_an_explicit_entry(rules, reason):
    """Design decision 13."""
    assert judge(Service("ci"), *rules) == reason


def test_attack_service_posing_as_a_person():
    """RFC 9700 §4.15: a client's name never meets rules written for people, nor a person's those for services."""
    assert compile_rules("anyone").judge(Service("ann@acme.com")) == "service_not_allowed"
    assert judge(Service("github:42"), {"subject": "github:42"}) == "service_not_allowed"
    assert judge(Service("ann@acme.com"), {"email": "ann@acme.com"}) == "service_not_allowed"
    assert judge(Identity(provider="client", subject="ci"), {"service": "ci"}) == "not_on_allow_list"


@pytest.mark.parametrize(
    "rules",
    [
        [],
        [{}],
        [{"provider": "github"}, {}],
        [{"email": ""}],
        [{"provider": " "}],
        [{"email": "acme.com"}],
        [{"email": "a@b@acme.com"}],
        [{"email_domain": "@acme.com"}],
        [{"email_domain": "*.acme.com"}],
        [{"email_domain": ".acme.com"}],
        [{"group": "acme/platform"}],
        [{"group": ":acme"}],
        [{"group": "github:"}],
        [{"subject": "42"}],
        [{"subject": "github:"}],
        [{"subject": ":42"}],
        [{"service": "ci", "provider": "github"}],
    ],
)
def test_rules_that_could_never_match_are_config_errors(rules):
    """An empty entry must not mean "everybody", and a mistake is shown when the config loads."""
    with pytest.raises(ValueError, match="allow"):
        compile_rules(tuple(AllowRule(**rule) for rule in rules))


@given(st.text("a@.ß-İ \n", max_size=12), st.sampled_from(["a.a", "aa"]))
def test_domain_rule_admits_only_what_ends_in_exactly_that_domain(email, domain):
    """Whatever the provider sends as an address, a match means one @ and this domain after it."""
    if judge(person(email=email), {"email_domain": domain}) is None:
        assert email.count("@") == 1
        assert email.endswith("@" + domain)
