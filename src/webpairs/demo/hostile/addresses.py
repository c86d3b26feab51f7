"""Lead to addresses that no fetcher may reach: by DNS, and by hosts that are addresses."""

from __future__ import annotations

from typing import Final

from webpairs.demo.hostile.behaviour import Behaviour, say
from webpairs.demo.hostile.images import jpeg
from webpairs.demo.truth import SAMPLE
from webpairs.drops import Drop

_GOOD: Final = say("200 OK", "Content-Type: image/jpeg", body=jpeg)


def _named(name: str, what: str, *addresses: str) -> Behaviour:
    return Behaviour(
        name=name,
        what=what,
        expect=Drop.ADDRESS_FORBIDDEN,
        answer=_GOOD,
        addresses=addresses,
    )


def _spelled(name: str, what: str, url: str) -> Behaviour:
    return Behaviour(name=name, what=what, expect=Drop.ADDRESS_FORBIDDEN, answer=_GOOD, url=url)


BEHAVIOURS: Final = (
    Behaviour(
        name="dns-no-such-name",
        what="a name that does not exist",
        expect=Drop.DNS,
        answer=_GOOD,
        addresses=(),
    ),
    Behaviour(
        name="dns-label-too-long",
        what="a name with a label of 64 letters, which DNS cannot carry",
        expect=Drop.DNS,
        answer=_GOOD,
        url="http://" + "a" * 64 + ".{host}:{port}/picture.jpg",
    ),
    Behaviour(
        name="dns-idn",
        what="a name with letters beyond ASCII, which is its Punycode in DNS",
        expect=SAMPLE,
        answer=_GOOD,
        url="http://bücher.{host}:{port}/picture.jpg",
        names=(("xn--bcher-kva.{host}", ("127.0.0.1",)),),
    ),
    Behaviour(
        name="dns-capitals",
        what="a name in capital letters",
        expect=SAMPLE,
        answer=_GOOD,
        url="http://PICTURES.{host}:{port}/picture.jpg",
        names=(("pictures.{host}", ("127.0.0.1",)),),
    ),
    Behaviour(
        name="dns-one-forbidden",
        what="a name with a private address and a good one: only the good one is asked",
        expect=SAMPLE,
        answer=_GOOD,
        addresses=("10.0.0.1", "127.0.0.1"),
    ),
    _named("dns-private-10", "a name in a private network", "10.0.0.1"),
    _named("dns-private-172", "a name in another private network", "172.16.0.1"),
    _named("dns-private-192", "a name in a home's network", "192.168.1.1"),
    _named("dns-carrier", "a name behind a carrier's NAT", "100.64.0.1"),
    _named("dns-metadata", "a name of a cloud's metadata service", "169.254.169.254"),
    _named("dns-loopback", "a name of the machine itself", "127.0.0.2"),
    _named("dns-loopback-v6", "a name of the machine itself, in IPv6", "::1"),
    _named("dns-loopback-mapped", "the same, an IPv4 address within IPv6", "::ffff:127.0.0.2"),
    _named("dns-loopback-nat64", "the same, as NAT64 would translate it", "64:ff9b::7f00:2"),
    _named("dns-loopback-6to4", "the same, as 6to4 would carry it", "2002:7f00:2::1"),
    _named("dns-unique-local", "a name in a private IPv6 network", "fd00::1"),
    _named("dns-link-local-v6", "a name on the cable's own IPv6 network", "fe80::1"),
    _named("dns-unspecified", "a name without an address: Linux connects to itself", "0.0.0.0"),
    _named("dns-unspecified-v6", "the same, in IPv6", "::"),
    _named("dns-multicast", "a name of a multicast group", "224.0.0.1"),
    _named("dns-broadcast", "a name of everybody", "255.255.255.255"),
    _named("dns-two-forbidden", "a name with two addresses, both forbidden", "10.0.0.1", "fd00::1"),
    _spelled("url-loopback", "127.0.0.2", "http://127.0.0.2:{port}/picture.jpg"),
    _spelled("url-decimal", "127.0.0.2 as one number", "http://2130706434:{port}/picture.jpg"),
    _spelled("url-octal", "127.0.0.2 in octal", "http://0177.0.0.02:{port}/picture.jpg"),
    _spelled("url-hex", "127.0.0.2 in hex, in two parts", "http://0x7f.2:{port}/picture.jpg"),
    _spelled("url-short", "127.0.0.2 in two parts", "http://127.2:{port}/picture.jpg"),
    _spelled(
        "url-trailing-dot", "127.0.0.2 with a trailing dot", "http://127.0.0.2.:{port}/picture.jpg"
    ),
    _spelled(
        "url-wide-digits",
        "127.0.0.2 in full-width letters",
        "http://１２７。０。０。２:{port}/p.jpg",
    ),
    _spelled(
        "url-percent", "127.0.0.2 percent-encoded", "http://%31%32%37.0.0.%32:{port}/picture.jpg"
    ),
    _spelled("url-v6", "the machine itself, in IPv6", "http://[::1]:{port}/picture.jpg"),
    _spelled(
        "url-v6-mapped", "127.0.0.2 within IPv6", "http://[::ffff:127.0.0.2]:{port}/picture.jpg"
    ),
    _spelled("url-metadata", "a cloud's metadata service", "http://169.254.169.254/latest/"),
    _spelled(
        "url-user-is-a-host",
        "a well-known name where the user goes, before 127.0.0.2",
        "http://good.example@127.0.0.2:{port}/picture.jpg",
    ),
    _spelled(
        "url-backslash",
        "a well-known name behind a backslash, after 127.0.0.2",
        "http://127.0.0.2:{port}\\@good.example/picture.jpg",
    ),
)
