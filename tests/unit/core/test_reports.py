from __future__ import annotations

import pytest

from sanic_ws.core.reports import MAGIC, Report, Said, decode_reports, encode_reports
from sanic_ws.errors import MalformedBatch

REPORTS = [Report(1, "a", Said.ACK), Report(2**40, "b", Said.REPLY, '{"ä":"\\n"}'), Report(3, "c", Said.GONE)]


def test_reports_are_read_as_they_were_written():
    assert decode_reports(encode_reports("n1", REPORTS)) == ("n1", REPORTS)


def test_reply_may_nest_as_deeply_as_a_clients_message():
    deep = "[" * 198 + "]" * 198
    _, (report,) = decode_reports(encode_reports("n1", [Report(1, "a", Said.REPLY, deep)]))
    assert report.reply == deep


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'["n1"]',
        b'["n1",[[1,"a",2]]]',
        b'["n1",[[1,"a",9,""]]]',
        b'["n1",[["1","a",2,""]]]',
        b'["n1",[[true,"a",2,""]]]',
        b'["n1",[[1,5,2,""]]]',
        b'["n1",[[1,"a",2,{}]]]',
        b"[5,[]]",
        b'["n1",5]',
        b"\xff",
    ],
)
def test_what_is_no_report_is_refused(body):
    with pytest.raises(MalformedBatch):
        decode_reports(MAGIC + body)
