import pytest
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

from protocols.uds import slot_digest
from protocols.uds.security_access import KEY_LENGTH, compute_key, derive_key, keys_match

# RFC 4493, section 4.
RFC_KEY = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
RFC_MESSAGE = bytes.fromhex(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411"
)


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (0, "bb1d6929e95937287fa37d129b756746"),
        (16, "070a16b46b4d4144f79bdd9dd04a287c"),
        (40, "dfa66747de9ae63030ca32611497c827"),
    ],
)
def test_the_mac_in_use_is_the_one_of_rfc_4493(length: int, expected: str) -> None:
    mac = CMAC(AES(RFC_KEY))
    mac.update(RFC_MESSAGE[:length])
    assert mac.finalize().hex() == expected


def test_a_key_is_the_mac_over_label_level_ecu_and_seed() -> None:
    mac = CMAC(AES(RFC_KEY))
    mac.update(b"canota security access\x03ECU-7" + bytes(16))
    expected = mac.finalize()
    assert compute_key(RFC_KEY, level=3, ecu_id="ECU-7", seed=bytes(16)) == expected


def test_every_input_changes_the_key() -> None:
    reference = compute_key(RFC_KEY, level=1, ecu_id="A", seed=bytes(16))
    others = [
        compute_key(RFC_KEY, level=3, ecu_id="A", seed=bytes(16)),
        compute_key(RFC_KEY, level=1, ecu_id="B", seed=bytes(16)),
        compute_key(RFC_KEY, level=1, ecu_id="A", seed=bytes(15) + b"\x01"),
        compute_key(bytes(16), level=1, ecu_id="A", seed=bytes(16)),
    ]
    assert not any(keys_match(reference, other) for other in others)
    assert len(reference) == KEY_LENGTH


def test_each_ecu_and_level_has_its_own_secret() -> None:
    secrets = {derive_key(b"m" * 32, ecu, level) for ecu in ("A", "B") for level in (1, 3)}
    assert len(secrets) == 4
    assert derive_key(b"m" * 32, "A", 1) == derive_key(b"m" * 32, "A", 1)


def test_a_slot_digest_holds_for_its_ecu_nonce_and_image_alone() -> None:
    key = slot_digest.derive_signing_key(b"m" * 32, "S1")
    public = key.public_key().public_bytes_raw()
    nonce, sha256 = b"n" * 16, b"h" * 32
    signature = slot_digest.sign(key, hardware_id="CCU-2", serial="S1", nonce=nonce, sha256=sha256)

    def verify(hardware_id: str, serial: str, nonce: bytes, sha256: bytes) -> bool:
        return slot_digest.verify(
            public, signature, hardware_id=hardware_id, serial=serial, nonce=nonce, sha256=sha256
        )

    assert verify("CCU-2", "S1", nonce, sha256)
    assert not verify("CCU-3", "S1", nonce, sha256)
    assert not verify("CCU-2", "S2", nonce, sha256)
    assert not verify("CCU-2", "S1", b"o" * 16, sha256)
    assert not verify("CCU-2", "S1", nonce, b"i" * 32)
    # A byte of the nonce cannot pass for one of the digest.
    assert not verify("CCU-2", "S1", nonce + b"h", b"h" * 31)
    assert not slot_digest.verify(
        public, b"", hardware_id="CCU-2", serial="S1", nonce=nonce, sha256=sha256
    )
