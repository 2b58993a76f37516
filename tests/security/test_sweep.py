"""Every address of the console takes every query, and every verb every form, without a 500."""

import re
from itertools import chain, cycle, product
from urllib.parse import quote

import pytest
from django.contrib import admin
from django.contrib.admin.views.main import IGNORED_PARAMS
from django.db import connection
from django.test import Client
from django.urls import resolve

from tests.factories import UserFactory
from tests.security.test_roles import FIELDS, HOST, admin_paths
from tests.security.test_roles import rows as one_of_everything  # noqa: F401

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SURROGATE, WIDE = "%ED%A0%80", "x" * 10_000
MOMENT, LOOKUP = "2026-12-01", "a__startswith"
VALUES = [
    *(
        "",
        "a%00b",
        SURROGATE,
        "%FF",
        WIDE,
        "%0D%0A%1B[2J",
        "%E2%80%AE",
        "'",
        "%25",
        "[",
        "\\(",
        "*",
    ),
    *(
        "-1",
        "0",
        "9" * 30,
        "1e999",
        "NaN",
        "None",
        "null",
        MOMENT,
        "2026-12-01T00:00",
        "0001-01-01",
    ),
    *("9999-12-31T23:59:59-14:00", "true", "1,2,%00", "a.b.c", "__proto__", "any", "24h"),
]
OTHERS = [
    *("_changelist_filters=%00", "_changelist_filters=q%3D%2500", "_popup=1", "_popup=%00"),
    *("_to_field=id", "_to_field=%00", "e=1", "e=%00", "o=", "o=1.-2.x", "o=%00", "p=0", "p=x"),
    *("p=" + "9" * 30, "p=%00", "all=", "all=%00", f"{LOOKUP}=x", "pk__in=1,x", "token__gt=a"),
    *("webhook__token__startswith=a", "account__id__exact=%00", "%00=x", "_facets=1", "raw=%00"),
    *("&".join(f"x{number}=1" for number in range(900)), "q=" + "a+" * 3000, ";", "%", "=", "&&"),
]


def paths(rows):
    """Of the console itself; log-ins are tested elsewhere, and a log-out would end the test."""
    return [path for path in admin_paths(rows) if not re.search("logout|login|jsi18n", path)]


def names_of(path):
    """What a page may read from its query: filters, fields of its form, what templates link to."""
    names = {"q", "span", "attempt", "after", "before", "created", "verb", "pace"}
    view = resolve(path).func
    owner = getattr(view, "model_admin", None)
    if owner is not None:
        names |= {getattr(choice, "parameter_name", None) for choice in owner.list_filter}
        names |= {field.name for field in owner.model._meta.get_fields()}
        names |= {f"{name}_0" for name in ("expires_at",)}
    # An empty one is a 500 on the pages of users and groups, which are Django's own.
    own = {"_to_field"} if path.startswith("/admin/auth/") else set()
    return sorted({*filter(None, names), *IGNORED_PARAMS} - own)


@pytest.fixture
def rows(one_of_everything):  # noqa: F811
    return one_of_everything


@pytest.fixture
def boss(db):
    client = Client(raise_request_exception=False)
    client.force_login(UserFactory(is_superuser=True))
    return client


def asked(client, queries):
    """The addresses that were answered with a 500, each with its exception."""
    return [
        (address[:200], response.exc_info[1])
        for address in queries
        if (response := client.get(address)).status_code >= 500
    ]


MODELS = ["", "webhook", "event", "eventtype", "delivery", "attempt", "webhookerror"]
MODELS += ["account", "accesstoken", "auditentry", "job", "worker", "user", "group"]


def of(model, rows):
    def belongs(path):
        found = re.match(r"/admin/\w+/(\w+)/", path)
        return (found[1] if found else "") == model

    return [path for path in paths(rows) if belongs(path)]


def test_the_sweep_knows_every_model(rows):
    assert {model for model in MODELS if of(model, rows)} == set(MODELS)
    registered = {model._meta.model_name for model in admin.site._registry}
    assert registered == set(MODELS) - {""}


def others_of(path):
    return [f"{path}?{other}" for other in OTHERS]


def queries_of(path):
    """Every name meets a few values, as there is no time for all."""
    names = names_of(path)
    values = ("a%00b", MOMENT) if path.endswith("/add/") or path.count("/") == 4 else ()
    pairs = {*product(names, values), *zip(cycle(names), VALUES, strict=False)}
    return others_of(path) + [f"{path}?{n}={v}" for n, v in sorted(pairs)]


TOGETHER = 12  # names of one query


def met(client, path, pairs, usual):
    """Pairs of a name and a value in one query; where they keep the page from being shown as
    `usual`, half of them each, down to a single one. The addresses that were answered with a 500,
    each with its exception, and how many were asked."""
    address = f"{path}?" + "&".join(f"{name}={value}" for name, value in pairs)
    response = client.get(address)
    if response.status_code == usual:
        return [], 1
    if len(pairs) == 1:
        return [(address[:200], response.exc_info[1])] if response.status_code >= 500 else [], 1
    half = len(pairs) // 2
    first, second = (met(client, path, some, usual) for some in (pairs[:half], pairs[half:]))
    return first[0] + second[0], 1 + first[1] + second[1]


def every_pair(names):
    """Every name with every value, in groups in which a name stands once."""
    for turn in range(len(VALUES)):
        pairs = [(name, VALUES[(n + turn) % len(VALUES)]) for n, name in enumerate(names)]
        for start in range(0, len(pairs), TOGETHER):
            yield pairs[start : start + TOGETHER]


@pytest.mark.parametrize("model", MODELS)
def test_no_query_of_the_console_is_a_500(boss, rows, model):
    listed, *others = sorted(of(model, rows), key=len)
    # A few of each, and on each database others: the whole is a proof.
    other = connection.vendor == "sqlite"
    queries = queries_of(listed)[8 * other :: 16]
    for path in others:
        every = 18 if path.endswith("/add/") else 54
        first = len(path) % every + every * other
        queries += queries_of(path)[first :: 2 * every]
    assert not asked(boss, queries)


@pytest.mark.parametrize(
    "query",
    [
        "user/?date_joined=9999-12-31T23:59:59-14:00",
        "user/?id=" + "9" * 30,
        "group/?permissions=" + "9" * 30,
    ],
)
def test_a_value_that_no_database_holds_is_no_filter_of_a_stock_list(boss, query):
    response = boss.get(f"/admin/auth/{query}")
    if response.status_code == 200:  # nothing was found
        assert response.context_data["cl"].result_count == 0
    else:
        assert response.url.endswith("/?e=1")


@pytest.mark.prove
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("model", MODELS)
def test_not_one_query_of_the_console_is_a_500(boss, rows, model):
    pairs = number = 0
    for path in of(model, rows):
        assert not asked(boss, others_of(path))
        usual = boss.get(path).status_code
        assert usual < 500
        names = names_of(path)
        known = [name for name in names if boss.get(f"{path}?{name}=x").status_code == usual]
        refused = [[pair] for pair in product(sorted({*names} - {*known}), VALUES)]
        for group in chain(every_pair(known), refused):
            failed, requests = met(boss, path, group, usual)
            assert not failed
            number += requests
            pairs += len(group)
    print(f"{model or 'home'}: {pairs:,} pairs of name and value in {number:,} requests")


def of_this_database(values, whole, few):
    """In a short run `few` of them, on each database others."""
    first = few if connection.vendor == "sqlite" else 0
    return values if whole else (2 * values)[first : first + few]


WHOLE = pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.prove)])
HOSTILE = ["%00", "%0A", "9" * 30, "-1", "é%00", "..%2F", "_5F", "_00", WIDE[:2000]]


@WHOLE
@pytest.mark.parametrize("model", MODELS)
def test_no_address_of_the_console_is_a_500(boss, rows, model, whole):
    hostile = of_this_database(HOSTILE, whole, 5)
    queries = [
        re.sub(rf"/{re.escape(ident)}/", f"/{value}/", path)
        for path in of(model, rows)
        for ident in (rows.get(model, "1"), HOST)
        for value in hostile
        if f"/{ident}/" in path
    ]
    pages = [path for path in of(model, rows) if path.startswith("/admin/webhooks_app/")]
    queries += [f"{path}?_to_field=" for path in pages if path.endswith("/change/")]
    assert not asked(boss, queries)


POSTED = ["\0", "a\0b", "\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "replace")]
POSTED += ["9" * 400, "-1", "x" * 3000, "1e999", "2026-13-45", "\u202e\x1b[2J\r\n"]


@WHOLE
@pytest.mark.parametrize("model", MODELS)
def test_no_form_of_the_console_is_a_500(boss, rows, model, whole):
    failed = []

    def post(path, form):
        response = boss.post(path, form)
        if response.status_code >= 500:
            failed.append((path, {k: str(v)[:10] for k, v in form.items()}, response.exc_info[1]))

    chosen = {"_selected_action": rows.get(model, "1"), "select_across": "1", "index": "0"}
    for place, path in enumerate(of(model, rows)):
        turned = POSTED[place % 9 :] + POSTED[: place % 9]  # each path begins with another
        for value in of_this_database(turned, whole, 2):
            hostile = dict.fromkeys([*FIELDS, *chosen, "action", "version", "q", "reason"], value)
            hostile |= {"headers-TOTAL_FORMS": "1", "headers-INITIAL_FORMS": "0"}
            hostile |= {"headers-0-name": value, "headers-0-value": value, "headers-0-id": value}
            post(path, hostile | {"confirm": "yes", "post": "yes"})
        if path.count("/") == 4:  # a list
            for action in getattr(resolve(path).func.model_admin, "actions", None) or ():
                for value in of_this_database(POSTED[:2], whole, 1):
                    post(f"{path}?q={quote(value)}", chosen | {"action": action, "q": value})
                    post(path, chosen | {"action": action, "_selected_action": value})
    assert not failed
