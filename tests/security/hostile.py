"""URLs that lead, or are read by some program as leading, to where nobody may send us.

`{port}` stands for the port of the canary. `POINTING_INSIDE` are honest names whose DNS answers are
not: they can be known only when a connection is made.
"""

from ipaddress import IPv4Address

INTERNAL = [
    "127.0.0.1",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",  # cloud metadata
    "100.100.100.200",  # cloud metadata of another
    "192.0.0.192",  # and of a third
    "198.18.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
]


def spellings(address: str) -> list[str]:
    """One IPv4 address in the ways that some resolver, library or browser understands."""
    number = int(IPv4Address(address))
    a, b, c, d = IPv4Address(address).packed
    high, low = f"{a:02x}{b:02x}", f"{c:02x}{d:02x}"
    return [
        address,
        f"{address}.",
        str(number),
        hex(number),
        f"0X{number:08X}",
        f"0{number:o}",
        f"{a}.{b}.{c * 256 + d}",
        f"{a}.{b * 65536 + c * 256 + d}",
        f"0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"{a:03}.{b:03}.{c:03}.{d:03}",
        f"0x{a:x}.{b}.0{c:o}.{d}",
        address.replace(".", "。"),
        address.replace(".", "．"),
        "".join(chr(ord(x) - 48 + 0xFF10) if x.isdigit() else x for x in address),
        address.replace(".", "%2e"),
        f"[::ffff:{address}]",
        f"[::ffff:{high}:{low}]",
        f"[::ffff:0:{address}]",
        f"[::{address}]",
        f"[64:ff9b::{high}:{low}]",
        f"[64:ff9b:1::{high}:{low}]",
        f"[2002:{high}:{low}::1]",
        f"[2001:0:{high}:{low}::1]",
    ]


PLACES = [
    *[spelling for address in INTERNAL for spelling in spellings(address)],
    # loopback once more
    *("127.1", "127.255.255.255", "0", "00", "0x", "0x0", "①②⑦.⓪.⓪.①", "¹²⁷.0.0.1", "127.٠.0.1"),
    *("127.0.0.1..", ".127.0.0.1", "127..0.1", "127.0.0.1%00", "127.0.0.1%20", "+127.0.0.1"),
    *("localhost", "LOCALHOST", "LocalHost.", "localhost..", "a.localhost", "a.b.localhost."),
    *("ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "ｌｏｃａｌｈｏｓｔ", "loc\u00adalhost", "loc\u200balhost", "localhoſt"),
    *("lоcalhost", "loca\u200dlhost", "\u2060localhost", "localhost\u3002", "%6cocalhost"),
    *("localhost%00.example.com", "localhost%09", "ip6-localhost", "localhost.localdomain"),
    *("[::1]", "[0:0:0:0:0:0:0:1]", "[::0001]", "[::]", "[0::0]", "[::1%25lo]", "[::1%lo]"),
    # IPv6 that is not the internet
    *("[fe80::1]", "[fe80::1%25eth0]", "[fc00::1]", "[fd12:3456::1]", "[fec0::1]", "[ff02::1]"),
    *("[2001:db8::1]", "[3fff::1]", "[100::1]", "[4000::1]", "[5f00::1]", "[2620:4f:8000::1]"),
    *("[2001:2::1]", "[2001:10::1]", "[::2]", "[8000::1]", "[fd00:ec2::254]"),
    # brackets and colons out of place
    *("[127.0.0.1]", "[::1", "::1", "[]", "[:]", "[::1].example.com", "[example.com]", "[v1.x]"),
    # names of networks inside
    *("metadata.google.internal", "metadata", "instance-data", "kubernetes.default.svc"),
    *("kubernetes.default.svc.cluster.local", "host.docker.internal", "gateway.docker.internal"),
    *("redis", "db", "intranet", "router.lan", "printer.local", "wpad.corp", "nas.home.arpa"),
    *("wiki.test", "a.svc", "x.localdomain", "consul.service.internal", "*", "*.internal"),
]

URLS = [
    *[f"http://{place}:{{port}}/hook" for place in PLACES],
    # two readers of one URL
    "http://example.com@127.0.0.1:{port}/",
    "http://example.com:80@127.0.0.1:{port}/",
    "http://example.com%40127.0.0.1:{port}/",
    "http://127.0.0.1:{port}@example.com/",
    "http://127.0.0.1:{port}\\@example.com/",
    "http://127.0.0.1:{port}#@example.com/",
    "http://127.0.0.1:{port}%23@example.com/",
    "http://example.com#@127.0.0.1:{port}/",
    "http://example.com\\.127.0.0.1:{port}/",
    "http://example.com\t@127.0.0.1:{port}/",
    "http://exam\nple.com/",
    "http://127.0.0.1:{port} .example.com/",
    "http://127.0.0.1:{port}\u00a0/",
    "http://example.com /",
    "ht\ntp://127.0.0.1:{port}/",
    " http://127.0.0.1:{port}/",
    "\0http://127.0.0.1:{port}/",
    "http:\\\\127.0.0.1:{port}/",
    "http:/127.0.0.1:{port}/",
    "http:127.0.0.1:{port}/",
    "http:///127.0.0.1:{port}/",
    "http:////127.0.0.1:{port}/",
    "//127.0.0.1:{port}/",
    "127.0.0.1:{port}",
    "http://?@127.0.0.1:{port}/",
    "http://;@127.0.0.1:{port}/",
    "http://,127.0.0.1:{port}/",
    "http://{{127.0.0.1}}:{port}/",
    "http://$(127.0.0.1):{port}/",
    "http://example.com:{port}:80@127.0.0.1/",
    "http://[::1]:{port}:80/",
    "http://[::1]:{port}@example.com/",
    "http://0://example.com:80/",
    # ports that are none
    "http://127.0.0.1:0{port}/",
    "http://example.com:0/",
    "http://example.com:65536/",
    "http://example.com:-1/",
    "http://example.com:８０/",
    "http://example.com:80a/",
    "http://example.com:/",
    # a second request in the first
    "http://example.com/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /",
    "http://example.com/\r\nX-Evil: 1",
    "http://example.com/\nX-Evil: 1",
    "http://example.com/a b",
    "http://example.com/\u2028",
    "http://example.com/\x1b[2J",
    "http://example.com\r\n.127.0.0.1/",
    # schemes
    *[
        f"{scheme}://127.0.0.1:{{port}}/"
        for scheme in (
            *("ftp", "ftps", "sftp", "tftp", "gopher", "dict", "ldap", "ldaps", "imap", "smtp"),
            *("ws", "wss", "telnet", "redis", "mysql", "unix", "http+unix", "httpx", "https+h2"),
            *("jar:http", "url:http", "view-source:http", "feed:http", "netdoc", "phar", "rtsp"),
        )
    ],
    "file:///etc/passwd",
    "file://localhost/etc/passwd",
    "unix:/var/run/docker.sock",
    "data:text/plain,hello",
    "javascript:alert(1)",
    "about:blank",
    "http",
    "http:",
    "http://",
    "",
]

POINTING_INSIDE = {
    "localtest.me": ["127.0.0.1"],
    "127.0.0.1.nip.io": ["127.0.0.1"],
    "7f000001.nip.io": ["127.0.0.1"],
    "169.254.169.254.nip.io": ["169.254.169.254"],
    "10-0-0-1.sslip.io": ["10.0.0.1"],
    "192-168-1-1.example.com": ["192.168.1.1"],
    "six.example.com": ["::1"],
    "mapped.example.com": ["::ffff:127.0.0.1"],
    "nat64.example.com": ["64:ff9b::7f00:1"],
    "ula.example.com": ["fd00::1"],
    "linklocal.example.com": ["fe80::1"],
    "zero.example.com": ["0.0.0.0"],
    "multicast.example.com": ["224.0.0.1"],
    "first-bad.example.com": ["127.0.0.1", "93.184.216.34"],
    "last-bad.example.com": ["93.184.216.34", "1.1.1.1", "127.0.0.1"],
    "families.example.com": ["93.184.216.34", "::1"],
    "scoped.example.com": ["fe80::1%eth0"],
    "no-address.example.com": ["localhost"],
}

GOOD = [
    *("https://example.com", "http://example.com/", "https://example.com:8443/hook"),
    *("https://EXAMPLE.com/Hook", "HTTPS://example.com/", "https://example.com./hook"),
    *("https://hooks.sub.domain.example.co.uk/a/b/c", "https://a_b.example.com/", "https://x.io"),
    *("https://example.com?a=1", "https://example.com/?a=1&b=2&&c", "https://example.com/;p=1"),
    *("https://example.com/@user", "https://example.com/a:b", "https://example.com//double//"),
    *("https://example.com/../up", "https://example.com/%2e%2e/%00", "https://example.com/%0d%0a"),
    *("https://example.com/?url=http://127.0.0.1/", "https://example.com/?next=//localhost"),
    *("https://example.com/{id}", "https://example.com/a|b^c`d", "https://example.com/?q=[1]"),
    *(
        "https://bücher.example/",
        "https://faß.example/",
        "https://例え.jp/フック",
        "https://xn--p1ai.com",
    ),
    *("https://пример.рф/", "https://مثال.example/", "https://example.com/ünï?q=ö"),
    *(
        "https://1.1.1.1/",
        "http://8.8.8.8:8080/x",
        "https://93.184.216.34",
        "http://9.255.255.255/",
    ),
    *(
        "http://[2606:4700:4700::1111]/",
        "https://[2a00:1450:4001::200e]:8443/",
        "http://[2001:200::1]",
    ),
    *("https://[64:ff9b::5db8:d822]/", "https://[::ffff:93.184.216.34]/"),
    *("https://localhost.example.com/", "https://mylocalhost.io/", "https://internal.io/"),
    *("https://contest.com/", "https://10.example.com/", "https://127.0.0.1.example.com/"),
    *("https://0x7f.example.com/", "https://123.example/", "https://3com.com/"),
    "https://" + "a" * 63 + ".example.com/",
    "https://example.com/".ljust(2048, "a"),
]
