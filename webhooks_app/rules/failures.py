"""Every way an exchange can fail: what is recorded, why it happened, what to do about it.

The recorded wording is the one ChatBot's users know where one exists. Nothing a receiver sent
is ever part of `why` or `advice`.
"""

import errno
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of failure as staff and owners read it."""

    title: str
    why: str
    advice: str


KINDS: dict[str, Kind] = {
    "dns": Kind(
        "Host name not found",
        "The host name does not exist, or has no address.",
        "Check the host for a typing mistake; else ask the owner whether the name was removed.",
    ),
    "dns_temp": Kind(
        "DNS gave no answer",
        "Our DNS server gave no answer.",
        "Wait. If other webhooks show it too, tell operations.",
    ),
    "dns_timeout": Kind(
        "DNS timeout",
        "Our DNS server gave no answer within the timeout.",
        "Wait. If other webhooks show it too, tell operations.",
    ),
    "refused": Kind(
        "Connection refused",
        "Nothing accepts connections on that port of that address.",
        "Ask the owner whether the server runs and whether its firewall lets us in, "
        "then send a test.",
    ),
    "unreachable": Kind(
        "No route",
        "There is no route to that address, or a firewall of ours forbids it.",
        "Ask the owner; if several receivers show it, our network is at fault.",
    ),
    "connect_timeout": Kind(
        "Connection timeout",
        "No connection within the timeout: packets are dropped, most likely by a firewall.",
        "Ask the owner to let our addresses in.",
    ),
    "timeout": Kind(
        "Timeout",
        "The receiver took the call but did not answer in time. It may have worked on it.",
        "Ask the owner to answer first and work afterwards; or raise the timeout in the settings.",
    ),
    "reset": Kind(
        "Connection closed",
        "The receiver closed the connection without a complete answer.",
        "Ask the owner to look into the log of server and proxy at the time of the attempt.",
    ),
    "tls_expired": Kind(
        "Certificate expired",
        "The certificate of the host has expired or is not valid yet.",
        "Ask the owner to renew it. This check is never skipped.",
    ),
    "tls_host": Kind(
        "Certificate for another host",
        "The certificate was issued for other names than this host.",
        "Change the URL to a name the certificate holds, or ask for a certificate for this host.",
    ),
    "tls_untrusted": Kind(
        "Certificate not trusted",
        "No known authority signed the certificate, or the intermediate certificate is missing.",
        "Ask the owner to install the full chain of a public authority; for one of their own enter "
        "its certificate in the settings of the webhook.",
    ),
    "tls_weak": Kind(
        "Certificate too weak",
        "The key or the signature of the certificate, or of one it rests on, is no longer safe.",
        "Ask the owner for a new certificate: a key of RSA 2048 or EC 256, signed with SHA-256.",
    ),
    "tls_unusable": Kind(
        "Certificate not usable",
        "The certificate, or one it rests on, breaks a rule; the recorded line names it.",
        "Ask the owner for a new certificate, made for a web server by a public authority.",
    ),
    "tls_protocol": Kind(
        "TLS failed",
        "The port does not speak TLS, or hangs up when it is asked to.",
        "Check https or http, and the port.",
    ),
    "tls_old": Kind(
        "TLS too old",
        "The receiver and we have no version of TLS, or no cipher, in common that is safe.",
        "Ask the owner to offer TLS 1.2 or 1.3 with the ciphers of today.",
    ),
    "tls_client": Kind(
        "Client certificate wanted",
        "The receiver asks for a client certificate, and we have none.",
        "Enter one with its key in the settings of the webhook, or ask the owner to do without.",
    ),
    "tls_identity": Kind(
        "Client certificate refused",
        "The receiver does not take the client certificate of the webhook: it has ended, was "
        "revoked, or is of an authority that the receiver does not know.",
        "Ask the owner which certificate is expected, then enter it with its key in the settings.",
    ),
    "tls_name": Kind(
        "Host name not served",
        "The server at that address is not set up for this host name.",
        "Check the host for a typing mistake; else ask the owner to set the server up for it.",
    ),
    "tls_refused": Kind(
        "TLS refused",
        "The receiver speaks TLS and broke the handshake off; it may want a client certificate, or "
        "a cipher that we do not offer.",
        "Ask the owner to look into the log of server and proxy at the time of the attempt.",
    ),
    "tls_timeout": Kind(
        "TLS timeout",
        "The port takes connections, but the TLS handshake did not end within the timeout.",
        "Ask the owner whether that port speaks TLS, and whether the server is overloaded.",
    ),
    "redirect": Kind(
        "Redirect",
        "The receiver redirects to another address; redirects are not followed.",
        "Set the URL to the final address, then verify.",
    ),
    "http_400": Kind(
        "Rejected (4xx)",
        "The receiver rejects the request.",
        "Its answer usually says why. Retry only after the owner changed something.",
    ),
    "http_401": Kind(
        "Not authorized",
        "The receiver refuses our token, password or header.",
        "Compare them with the owner's, replace them, then verify.",
    ),
    "signature": Kind(
        "Refused after a rotation",
        "The receiver refuses our calls, and their signing secret was replaced not long ago: it "
        "may still check them with the one before.",
        "Give the owner the present signing secret, or rotate back to the one before. Where that "
        "is right already, compare token, password and headers.",
    ),
    "http_404": Kind(
        "Not found",
        "Nothing handles POST at this path.",
        "Ask the owner for the exact URL.",
    ),
    "gone": Kind(
        "Receiver gone (410)",
        "The receiver says it is gone for good. A delivery or an interaction that is told so stops "
        "the webhook; a test or a verification does not.",
        "Ask for a new URL, or delete the webhook.",
    ),
    "rate": Kind(
        "Too many requests",
        "The receiver asks us to slow down.",
        "Nothing: a delivery waits as long as the receiver asked; send an interaction later. "
        "If it comes daily, lower the number of calls in flight in the settings.",
    ),
    "http_500": Kind(
        "Server error (5xx)",
        "The receiver took the call and crashed.",
        "Send the owner the answer, it holds their own error; retry once mended.",
    ),
    "http_502": Kind(
        "Bad gateway (5xx)",
        "A proxy before the receiver gets no answer from it.",
        "Usually a restart: wait. After 30 minutes tell the owner.",
    ),
    "http_other": Kind(
        "Unexpected status",
        "The receiver answered with a status that means neither success nor a known failure.",
        "Show the owner the answer.",
    ),
    "too_big": Kind(
        "Answer too large",
        "The answer is larger than 100 KiB.",
        "Often a web page: does the URL point to the handler?",
    ),
    "not_http": Kind(
        "Not HTTP",
        "What came back is not HTTP.",
        "Check scheme and port.",
    ),
    "bad_http": Kind(
        "Malformed HTTP",
        "The answer is HTTP but breaks its rules: the status line, the headers or the length of "
        "the body is wrong, or there are too many headers.",
        "Ask the owner to look at the program or proxy that writes the answer.",
    ),
    "encoded": Kind(
        "Answer is compressed",
        "The answer is compressed, although we ask for one that is not.",
        "Ask the owner to switch compression off for this path; every call of ours says "
        "Accept-Encoding: identity.",
    ),
    "bad_json": Kind(
        "Answer is no JSON",
        "The answer is not the JSON object an interaction needs.",
        "Show the owner the answer.",
    ),
    "blocked": Kind(
        "Address blocked",
        "The host is, or points to, a private or reserved address.",
        "The owner needs a public address. For a network of your own ask operations "
        "(WEBHOOKS_ALLOWED_NETWORKS).",
    ),
    "port": Kind(
        "Port not allowed",
        "Only certain ports are called from here, and the port of the URL is none of them.",
        "The owner needs a URL with one of these ports. For others ask operations "
        "(WEBHOOKS_ALLOWED_PORTS).",
    ),
    "proxy": Kind(
        "No way through our proxy",
        "The egress proxy of this installation did not open a connection to the address.",
        "Status 502, 503 or 504: the receiver cannot be reached, ask its owner. Any other: a rule "
        "of the proxy, tell operations (WEBHOOKS_PROXY).",
    ),
    "bad_url": Kind(
        "URL not usable",
        "The stored URL, a header, the OAuth settings or the client certificate cannot be used: "
        "the recorded line says which.",
        "Enter it anew in the settings of the webhook.",
    ),
    "oauth": Kind(
        "No access token",
        "The authorization server gave no access token: the recorded line holds its word for it, "
        "or what went wrong on the way. The receiver was not called.",
        "For invalid_client enter id and secret of the client anew, for invalid_scope compare the "
        "scopes; else look at the last exchange `token`, or ask who runs the token URL.",
    ),
    "internal": Kind(
        "Fault of ours",
        "The call failed inside this application; the receiver has no part in it.",
        "Tell operations: the log of the worker at the time of the attempt says more.",
    ),
    "v_401": Kind(
        "Verification: token refused",
        "The receiver refused our token in the verification request.",
        "Compare the token with the receiver's, then verify again.",
    ),
    "v_404": Kind(
        "Verification: no GET handler",
        "The receiver has no handler for GET on this path; the verification request is a GET.",
        "Add the GET handler that echoes `challenge`, then verify again.",
    ),
    "v_body": Kind(
        "Verification: wrong answer",
        "The receiver answered the token, a page or nothing instead of the challenge.",
        "Answer the value of the query parameter `challenge` alone, then verify again.",
    ),
}


TIMEOUTS = frozenset({"timeout", "connect_timeout", "tls_timeout", "dns_timeout"})
# Somebody is there and said so: these say something about the webhook's owner alone.
ANSWERED = frozenset(
    {
        *("http_400", "http_401", "http_404", "gone", "rate", "redirect", "http_other"),
        *("bad_json", "encoded", "signature"),
    }
)
# No connection came about: a firewall that does not know our addresses may be why.
NOT_CONNECTED = frozenset({"refused", "unreachable", "connect_timeout", "proxy"})


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure that happened: its kind and the line that goes into the error history."""

    kind: str
    message: str

    @property
    def title(self) -> str:
        return KINDS[self.kind].title

    @property
    def why(self) -> str:
        return KINDS[self.kind].why

    @property
    def advice(self) -> str:
        return KINDS[self.kind].advice


def is_away(failure: Failure | None) -> bool:
    """Whether an exchange failed so that the receiver seems not to be there."""
    return failure is not None and failure.kind not in ANSWERED


def advice(kind: str) -> str:
    """What to do about a failure of this kind, `""` for none."""
    return KINDS[kind].advice if kind in KINDS else ""


def why(kind: str) -> str:
    """Why a failure of this kind happens, `""` for none."""
    return KINDS[kind].why if kind in KINDS else ""


def title(kind: str) -> str:
    """The short name of a kind, `""` for none."""
    return KINDS[kind].title if kind in KINDS else ""


REFUSALS = frozenset({400, 401, 403})  # by which receivers say that a signature does not match


def of_status(status: int, *, rotated: bool = False) -> Failure | None:
    """The failure an HTTP status means for a call; None for 2xx. `rotated`: the secret that calls
    are signed with was replaced not long ago."""
    if 200 <= status <= 299:
        return None
    if 300 <= status <= 399:
        kind = "redirect"
    elif rotated and status in REFUSALS:
        kind = "signature"
    elif status in (401, 403, 407):
        kind = "http_401"
    elif status in (404, 405):
        kind = "http_404"
    elif status == 410:
        kind = "gone"
    elif status == 429:
        kind = "rate"
    elif 400 <= status <= 499:
        kind = "http_400"
    elif status in (502, 503, 504):
        kind = "http_502"
    elif 500 <= status <= 599:
        kind = "http_500"
    else:
        kind = "http_other"
    return Failure(kind, f"Request failed with status code {status}")


def timeout(
    timeout_ms: int, *, connecting: bool = False, securing: bool = False, resolving: bool = False
) -> Failure:
    """The deadline passed, while what was done? The text follows the setting, as the document's
    example does."""
    kind = "timeout"
    if resolving:
        kind = "dns_timeout"
    elif securing:
        kind = "tls_timeout"
    elif connecting:
        kind = "connect_timeout"
    return Failure(kind, f"timeout of {timeout_ms}ms exceeded")


def too_big(limit: int) -> Failure:
    return Failure("too_big", f"maxContentLength size of {limit} exceeded")


def blocked(host: str) -> Failure:
    """Same sentence whatever stands behind the address: no oracle for internal networks."""
    return Failure(
        "blocked", f"blocked: {host} is not a public address (WEBHOOKS_ALLOWED_NETWORKS)"
    )


def port_refused(port: int) -> Failure:
    return Failure("port", f"blocked: port {port} is not allowed (WEBHOOKS_ALLOWED_PORTS)")


def proxy_refused(address: str, status: int) -> Failure:
    """Our egress proxy answered that it does not connect us to `address` ("ip:port")."""
    return Failure("proxy", f"proxy: status {status} for {address} (WEBHOOKS_PROXY)")


def proxy_fault(detail: str) -> Failure:
    """Our egress proxy is away or unusable: no word about any receiver."""
    return Failure("internal", f"the egress proxy cannot be used: {detail} (WEBHOOKS_PROXY)")


def no_such_name(host: str) -> Failure:
    return Failure("dns", f"getaddrinfo ENOTFOUND {host}")


def too_many_addresses(host: str, most: int) -> Failure:
    """The name has more of them than are judged."""
    return Failure("dns", f"more than {most} addresses of {host}")


def no_name_answer(host: str) -> Failure:
    return Failure("dns_temp", f"getaddrinfo EAI_AGAIN {host}")


_CONNECT_KINDS = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.ETIMEDOUT: "connect_timeout",
    errno.EMFILE: "internal",
    errno.ENFILE: "internal",
    errno.ENOBUFS: "internal",
    errno.ENOMEM: "internal",
}


def of_connect(number: int | None, address: str) -> Failure:
    """What an error number (`errno`) of connecting to `address` ("ip:port") means."""
    name = errno.errorcode.get(number or 0, "EIO")
    kind = _CONNECT_KINDS.get(number or 0, "unreachable")
    if number == errno.EADDRNOTAVAIL and not address.startswith("["):
        kind = "internal"  # our ports are used up; of IPv6 it says that we have no address
    return Failure(kind, f"connect {name} {address}")


def hang_up() -> Failure:
    """The receiver closed the connection before its answer was complete."""
    return Failure("reset", "socket hang up")


_NOT_HTTP = "Expected HTTP/"


def not_http(detail: str = _NOT_HTTP) -> Failure:
    """What came is no HTTP, or HTTP that breaks its rules. `detail` is a word of our parser's,
    never of the receiver's."""
    kind = "not_http" if detail.startswith(_NOT_HTTP) else "bad_http"
    return Failure(kind, f"Parse Error: {detail}")


# Verification results of OpenSSL (X509_V_ERR_…) in the words that Node prints.
_CERTIFICATES = {
    9: ("tls_expired", "certificate is not yet valid"),
    10: ("tls_expired", "certificate has expired"),
    18: ("tls_untrusted", "self-signed certificate"),
    19: ("tls_untrusted", "self-signed certificate in certificate chain"),
    20: ("tls_untrusted", "unable to verify the first certificate"),
    21: ("tls_untrusted", "unable to verify the first certificate"),
    62: ("tls_host", "Hostname/IP does not match certificate's altnames"),
    64: ("tls_host", "Hostname/IP does not match certificate's altnames"),
    2: ("tls_untrusted", "unable to get issuer certificate"),
    27: ("tls_untrusted", "certificate not trusted"),
    66: ("tls_weak", "EE certificate key too weak"),
    67: ("tls_weak", "CA certificate key too weak"),
    68: ("tls_weak", "CA signature digest algorithm too weak"),
}
WRONG_HOST = 62


def of_certificate(code: int, text: str) -> Failure:
    """What OpenSSL's verification result `code` means; `text` is its own sentence for it."""
    return Failure(*_CERTIFICATES.get(code, ("tls_unusable", text)))


# What OpenSSL calls it when the two sides find nothing in common that is safe.
_TLS_OLD = (
    *("UNSUPPORTED_PROTOCOL", "ALERT_PROTOCOL_VERSION", "WRONG_SSL_VERSION"),
    *("DH_KEY_TOO_SMALL", "UNSAFE_LEGACY_RENEGOTIATION", "ALERT_INSUFFICIENT_SECURITY"),
    *("WRONG_CIPHER", "WRONG_SIGNATURE_TYPE", "LEGACY_SIGALG", "FINITE_FIELD"),
)


# What a server says of a certificate that it was shown.
_TLS_IDENTITY = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED", "DECRYPT_ERROR")


TOO_LONG = "EXCESSIVE_MESSAGE_SIZE"  # OpenSSL's word for a chain of certificates without end
ENDLESS, FINITE_FIELD = "MESSAGES_WITHOUT_END", "FINITE_FIELD_KEYS"  # our own


def of_tls(reason: str, *, identified: bool = False) -> Failure:
    """What OpenSSL's `reason` (WRONG_VERSION_NUMBER …) means; `""`: closed in the handshake.
    `identified`: a client certificate was shown."""
    if not reason:
        return Failure(
            "tls_protocol",
            "Client network socket disconnected before secure TLS connection was established",
        )
    kind = "tls_protocol"
    if identified and "ALERT" in reason and any(word in reason for word in _TLS_IDENTITY):
        kind = "tls_identity"
    elif "CERTIFICATE_REQUIRED" in reason:
        kind = "tls_client"
    elif reason == TOO_LONG:
        return Failure("tls_unusable", "the certificates of the receiver are too long")
    elif reason == ENDLESS:
        return Failure("bad_http", "messages of TLS without end in place of an answer")
    elif "UNRECOGNIZED_NAME" in reason:
        kind = "tls_name"
    elif any(word in reason for word in _TLS_OLD):
        kind = "tls_old"
    elif "ALERT" in reason:  # from the other side, which does speak TLS
        kind = "tls_refused"
    return Failure(kind, reason.lower().replace("_", " "))


def no_token(problem: str) -> Failure:
    """A webhook with OAuth got no access token, and its receiver was not called."""
    return Failure("oauth", f"no access token: {problem}")


def unusable_certificate(reason: str) -> Failure:
    """Ours for this webhook; `reason` is OpenSSL's (NO_START_LINE …)."""
    words = reason.lower().replace("_", " ")
    return Failure("bad_url", f"client certificate not usable: {words}")


def internal() -> Failure:
    return Failure("internal", "internal error")
