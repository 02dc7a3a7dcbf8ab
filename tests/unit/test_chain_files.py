"""Artifacts and deployment files: what is wrong with a file is said, whatever the file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain import artifacts, deployment
from chain.artifacts import check_code, load
from chain.calls import Calls
from chain.deployment import CONTRACTS, Deployment
from chain.errors import ArtifactError, CodeDiffers, DeploymentError, Permanent

GOOD = Deployment(31337, b"\x01" * 32, 7, b"\x02" * 20, b"\x03" * 20, b"\x04" * 20, b"\x05" * 20)


def test_a_deployment_comes_back_from_its_file(tmp_path: Path) -> None:
    deployment.save(GOOD, tmp_path / "deployment.json")
    assert deployment.load(tmp_path / "deployment.json") == GOOD
    assert GOOD.address_of("EnergyEscrow") == GOOD.escrow
    assert GOOD.name_of(GOOD.token) == "SettlementToken"
    assert GOOD.name_of(bytes(20)) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"chainId": "1"}, "chainId"),
        ({"chainId": 2**53}, "chainId"),
        ({"genesisHash": "0x12"}, "genesisHash"),
        ({"contracts": {}}, "contracts.DeviceRegistry"),
        ({"contracts": None}, "expected"),
        ({"blockNumber": True}, "blockNumber"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(DeploymentError, match=words):
        deployment.parse(GOOD.to_document() | change)


def test_what_an_older_deployment_lacks_is_named() -> None:
    assert GOOD.contracts().keys() == {"DeviceRegistry", "AnchorLog", "EnergyEscrow", "SettlementToken"}
    with pytest.raises(DeploymentError, match="no DeviceWalletFactory: python -m chain deploy"):
        GOOD.address_of("DeviceWalletFactory")


def test_other_files_are_refused_with_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    for content, words in [(b"{", "is not JSON"), (b"[" * 60_000, "is not JSON"), (b" " * 70_000, "larger than"), (b"\xff", "is not JSON")]:
        path.write_bytes(content)
        with pytest.raises(DeploymentError, match=words):
            deployment.load(path)
    with pytest.raises(DeploymentError, match="No such file"):
        deployment.load(tmp_path / "absent.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["chainId", "genesisHash", "blockNumber", "contracts", "x"]), inner),
)


@given(document=JSON)
def test_no_document_whatever_breaks_the_parser(document: Any) -> None:
    with pytest.raises(DeploymentError):
        deployment.parse(document)


def test_our_artifacts_are_what_the_manifest_says_and_a_changed_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in CONTRACTS.values():
        assert load(name).name == name
        assert load(name).bytecode
    copy = tmp_path / "artifacts"
    shutil.copytree(artifacts.FOLDER, copy)
    monkeypatch.setattr(artifacts, "FOLDER", copy)
    uncached = load.__wrapped__
    path = copy / "AnchorLog.json"
    path.write_bytes(path.read_bytes().replace(b'"AnchorLog"', b'"AnchorLag"'))
    with pytest.raises(ArtifactError, match="the manifest says"):
        uncached("AnchorLog")
    path.unlink()
    with pytest.raises(ArtifactError, match="scripts/contracts build"):
        uncached("AnchorLog")
    (copy / "manifest.json").write_text(json.dumps([]))
    with pytest.raises(ArtifactError):
        uncached("EnergyEscrow")


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_one_changed_byte_of_code_is_seen_unless_a_constructor_may_set_it(data: st.DataObject) -> None:
    artifact = load("EnergyEscrow")
    code = bytearray(artifact.deployed_bytecode)
    offset = data.draw(st.integers(0, len(code) - 1))
    code[offset] ^= data.draw(st.integers(1, 255))
    immutable = any(start <= offset < start + length for start, length in artifact.immutables)
    if immutable:
        check_code(artifact, bytes(20), bytes(code))
    else:
        with pytest.raises(CodeDiffers, match=f"from byte {offset} on"):
            check_code(artifact, bytes(20), bytes(code))


def test_absent_and_shorter_code_is_told_apart() -> None:
    artifact = load("AnchorLog")
    with pytest.raises(CodeDiffers, match="there is no contract"):
        check_code(artifact, bytes(20), b"")
    with pytest.raises(CodeDiffers, match="bytes of code"):
        check_code(artifact, bytes(20), artifact.deployed_bytecode[:-1])


def test_an_argument_that_does_not_fit_is_named() -> None:
    with pytest.raises(Permanent, match="setChannel"):
        Calls(GOOD).set_channel(bytes(32), 2**32, 1, True)
    with pytest.raises(Permanent, match="anchor"):
        Calls(GOOD).anchor(bytes(33), bytes(32))
