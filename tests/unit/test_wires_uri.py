from pathlib import Path

import pytest

from clock import run
from vehicle_gateway.wires import LinkError
from vehicle_gateway.wires.tls import TlsFiles
from vehicle_gateway.wires.uri import BridgeTarget, DoipTarget, UriLinks, parse


@pytest.mark.parametrize(
    ("uri", "target"),
    [
        (
            "can://bridge/127.0.0.1:29540/comfort",
            BridgeTarget(host="127.0.0.1", port=29540, wire="comfort"),
        ),
        ("can://bridge/[::1]:29540/thermal", BridgeTarget(host="::1", port=29540, wire="thermal")),
        ("doip://127.0.0.1:13401", DoipTarget(host="127.0.0.1", port=13401)),
        ("doip://rear.local", DoipTarget(host="rear.local", port=13400)),
        (
            "doips://[::1]?ca=a.pem",
            DoipTarget(host="::1", port=3496, tls=TlsFiles(authority=Path("a.pem"))),
        ),
        (
            "doips://rear.local:3497?ca=a.pem&certificate=c.pem&key=k.pem&entity=1031",
            DoipTarget(
                host="rear.local",
                port=3497,
                tls=TlsFiles(
                    authority=Path("a.pem"),
                    certificate=Path("c.pem"),
                    key=Path("k.pem"),
                    entity=0x1031,
                ),
            ),
        ),
    ],
)
def test_a_uri_says_where_a_wire_is(uri: str, target: BridgeTarget | DoipTarget) -> None:
    assert parse(uri) == target


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("lin://x", "no scheme 'lin'"),
        ("comfort", "no scheme ''"),
        ("can://pican/1", "no CAN interface 'pican'"),
        ("can://socketcan", "names no channel"),
        ("can://socketcan/vcan0?channel=vcan1", "channel: not to be chosen here"),
        ("can://socketcan/vcan0?fd", "bad query field"),
        ("can://socketcand/127.0.0.1:29536", "not can://socketcand/HOST:PORT/CHANNEL"),
        ("can://socketcand/127.0.0.1:x/comfort", "Port could not be cast"),
        ("can://bridge/127.0.0.1:1", "names no wire"),
        ("can://bridge/127.0.0.1/comfort", "is not HOST:PORT"),
        ("can://bridge/127.0.0.1:port/comfort", "Port could not be cast"),
        ("doip://127.0.0.1:99999", "Port out of range"),
        ("doip://", "is not HOST:PORT"),
        ("doip://127.0.0.1:13400/rear", "nothing follows host and port"),
        ("doips://127.0.0.1", "names no authority to trust"),
        ("doips://127.0.0.1/rear?ca=a.pem", "a path means nothing here"),
        ("doips://127.0.0.1?ca=a.pem&key=k.pem", "a certificate and its key go together"),
        ("doips://127.0.0.1?ca=a.pem&verify=no", "verify: not known"),
        ("doips://127.0.0.1?ca=a.pem&entity=rear", "invalid literal"),
    ],
)
def test_a_wrong_uri_is_refused_by_name_with_those_that_are_known(uri: str, reason: str) -> None:
    with pytest.raises(LinkError) as caught:
        parse(uri)
    assert str(caught.value).startswith(f"{uri}: ")
    assert reason in str(caught.value)
    assert "can://bridge/HOST:PORT/WIRE" in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("can://socketcan/vcan0?isotp=ours", "the only choice of ISO-TP is `isotp=kernel`"),
        ("can://virtual/a?isotp=kernel", "the only choice of ISO-TP is `isotp=kernel`"),
        ("can://socketcan/vcan0?isotp_st_min=1", "the only choice of ISO-TP is `isotp=kernel`"),
        ("can://socketcan/vcan0?isotp=kernel&isotp_bs=1", "isotp_bs: not known"),
        ("can://socketcan/vcan0?isotp=kernel&isotp_padding=cc", "isotp_padding=cc is no number"),
        ("can://socketcan/vcan0?isotp=kernel&isotp_st_min=0x100", "st_min 256 is not a byte"),
        ("can://socketcan/vcan0?isotp=kernel&isotp_tx_dl=9", "tx_data_length 9 is not in 8..64"),
    ],
)
def test_a_wrong_setting_of_the_kernels_iso_tp_is_refused_by_name(uri: str, reason: str) -> None:
    with pytest.raises(LinkError) as caught:
        parse(uri)
    assert str(caught.value).startswith(f"{uri}: ")
    assert reason in str(caught.value)


def test_a_wire_without_a_link_says_which_there_are() -> None:
    links = UriLinks({"rear": "doip://127.0.0.1:1"})
    with pytest.raises(LinkError, match=r"comfort: no link given for this wire .*rear"):
        links.can("comfort")
    with pytest.raises(LinkError, match=r"rear: doip://127\.0\.0\.1:1 is not a CAN link"):
        links.can("rear")


@pytest.mark.parametrize(
    "uris",
    [
        {"comfort": "can://bridge/127.0.0.1:1/comfort"},
        {"rear": "doip://127.0.0.1:1"},
        {"rear": "doips://127.0.0.1:1?ca=/nowhere/authority.pem"},
    ],
)
def test_a_link_to_nobody_is_an_error_that_names_the_uri(uris: dict[str, str]) -> None:
    async def main() -> None:
        links = UriLinks(uris)
        try:
            await links.open()
            await links.stream("rear")
        finally:
            await links.close()

    (uri,) = uris.values()
    with pytest.raises(LinkError) as caught:
        run(main(), virtual=False)
    assert str(caught.value).startswith(f"{uri}: ")
