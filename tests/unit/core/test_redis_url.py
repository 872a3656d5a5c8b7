import pytest

from sanic_ws.core.redis_url import parse_redis_url
from sanic_ws.errors import InvalidField


def refused(url):
    with pytest.raises(InvalidField) as raised:
        parse_redis_url(url)
    assert raised.value.field == "redis_url"
    return raised.value.reason


@pytest.mark.parametrize(
    ("url", "address", "db"),
    [
        ("redis://r", ("r", 6379), 0),
        ("redis://r:1234", ("r", 1234), 0),
        ("redis://r/", ("r", 6379), 0),
        ("redis://r:1/5", ("r", 1), 5),
        ("redis://r?db=5", ("r", 6379), 5),
        ("redis:///3", ("localhost", 6379), 3),
        ("redis://[::1]:7000/1", ("::1", 7000), 1),
        ("redis://10.0.0.1:7000", ("10.0.0.1", 7000), 0),
    ],
)
def test_one_server(url, address, db):
    read = parse_redis_url(url)
    assert (read.kind, read.addresses, read.options, read.tls) == ("single", (address,), {"db": db}, False)


def test_credentials_are_decoded():
    read = parse_redis_url("redis://us%40er:p%2Fa%3As%3F@r/1")
    assert read.options == {"username": "us@er", "password": "p/a:s?", "db": 1}
    assert parse_redis_url("redis://:secret@r").options == {"password": "secret", "db": 0}


def test_tls():
    read = parse_redis_url("rediss://r?ssl_ca_certs=/etc/ca.pem&ssl_check_hostname=false")
    assert read.tls
    assert read.options == {"ssl_ca_certs": "/etc/ca.pem", "ssl_check_hostname": False, "db": 0}


def test_options_have_types():
    read = parse_redis_url(
        "redis://r?socket_timeout=0.2&socket_keepalive=no&client_name=a%20b&max_connections=4"
    )
    assert read.options == {"socket_timeout": 0.2, "socket_keepalive": False, "client_name": "a b", "db": 0}
    assert read.max_connections == 4


def test_sentinel():
    read = parse_redis_url("redis+sentinel://me:pw@s1:1,s2,[::1]:3/my%2Fmaster/2?tls=true&ssl_ca_certs=/ca")
    assert (read.kind, read.master, read.tls) == ("sentinel", "my/master", True)
    assert read.addresses == (("s1", 1), ("s2", 26379), ("::1", 3))
    assert read.options == {"username": "me", "password": "pw", "db": 2, "ssl_ca_certs": "/ca"}
    assert (read.sentinel_tls, read.sentinel) == (True, {"ssl_ca_certs": "/ca"})


def test_sentinels_with_credentials_of_their_own_and_no_tls():
    url = "redis+sentinel://s/main?tls=true&sentinel_tls=no&sentinel_username=u&sentinel_password=p&ssl_ca_certs=/ca"
    read = parse_redis_url(url)
    assert (read.tls, read.options) == (True, {"db": 0, "ssl_ca_certs": "/ca"})
    assert (read.sentinel_tls, read.sentinel) == (False, {"username": "u", "password": "p"})


def test_cluster():
    read = parse_redis_url("redis+cluster://me:pw@a:1,b/0?tls=1")
    assert (read.kind, read.addresses, read.tls) == ("cluster", (("a", 1), ("b", 6379)), True)
    assert read.options == {"username": "me", "password": "pw", "db": 0}


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://r", "must begin with one of redis://, rediss://, redis+sentinel://, redis+cluster://"),
        ("r:6379", "must begin with"),
        ("redis://[::1", "is not a URL"),
        ("redis://r:port", "address that is not host:port"),
        ("redis://r:0", "address that is not host:port"),
        ("redis://r:70000", "address that is not host:port"),
        ("redis://a,b", "several servers"),
        ("redis://r/x", "database must be a number"),
        ("redis://r/1/2", "database must be a number"),
        ("redis://r?db=x", "db must be a number"),
        ("redis://r?colour=red", "option that is not known colour"),
        ("redis://r?socket_timeout=0", "socket_timeout must be a number of seconds greater than 0"),
        ("redis://r?max_connections=0", "max_connections must be greater than 0"),
        ("redis://r?client_name=", "client_name must be given, or left out"),
        ("rediss://r?ssl_cert_reqs=maybe", "ssl_cert_reqs must be required, optional or none"),
        ("rediss://r?ssl_check_hostname=maybe", "ssl_check_hostname must be true or false"),
        ("redis://r?ssl_ca_certs=/ca", "ssl_ca_certs needs TLS"),
        ("rediss://r?tls=false", "contradicts rediss://"),
        ("redis://r?sentinel_password=x", "for redis+sentinel:// only"),
        ("redis://r?sentinel_tls=true", "for redis+sentinel:// only"),
        ("redis+sentinel://s1,s2", "must name the master"),
        ("redis+sentinel://s1,s2/", "must name the master"),
        ("redis+sentinel://s1,,s2/main", "address that is not host:port"),
        ("redis+sentinel:///main", "address that is not host:port"),
        ("redis+sentinel://s1/main/x", "database must be a number"),
        ("redis+cluster://", "address that is not host:port"),
        ("redis+cluster://a,b/1", "database 0 only"),
        ("redis+cluster://a,b?db=1", "database 0 only"),
    ],
)
def test_wrong_ones_are_refused_and_told_why(url, reason):
    assert reason in refused(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:se/cret@r",
        "redis://u:se?cret@r",
        "redis://u:se#cret@r:port",
        "redis://u:secret@r:port",
        "redis://u:secret@r/x",
        "redis://u:[secret@r",
        "redis+cluster://u:secret@a,b/1",
        "redis+sentinel://s?sentinel_password=secret",
        "secret@r",
    ],
)
def test_no_password_is_shown(url):
    assert "cret" not in refused(url)


def test_no_password_is_in_what_is_printed():
    read = parse_redis_url("redis+sentinel://me:top-secret@s/main?sentinel_password=open-sesame")
    assert "top-secret" not in repr(read)
    assert "open-sesame" not in repr(read)
