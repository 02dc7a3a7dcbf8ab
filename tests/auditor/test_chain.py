"""The auditor beside a real chain: links kept and resumed, a rewind and a lying node named, a bundle compared with the node."""

from __future__ import annotations

import http.client
import http.server
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from auditor.compare import compare
from auditor.links_file import load_trust, read_links
from auditor.report import CHAIN_CHECKS, Verdict
from auditor.sync import Rewound, Withheld, deployment_of, start_file, sync
from auditor.verify import verify
from chain.client import ChainClient
from chain.deployment import save
from protocol.bundle import Bundle, ChainHalt, CreditNote, encode_bundle
from protocol.errors import Malformed
from protocol.keys import Signer
from tests.chain.conftest import Stage, set_stage
from tests.chain.nodes import ROOT, DevChain

from .on_chain import ChainEvidence


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChainEvidence]:
    folder = tmp_path_factory.mktemp("chain")
    node = DevChain(folder / "state", "--block-time", "1")
    stage: Stage | None = None
    try:
        stage = set_stage(node, folder, 0)
        yield ChainEvidence(stage)
    finally:
        if stage is not None:
            stage.client.close()
        node.stop()


@pytest.fixture
def links(scene: ChainEvidence, tmp_path: Path) -> Path:
    path = tmp_path / "links"
    start_file(path, scene.stage.deployment)
    return path


def client(path: Path, url: str) -> ChainClient:
    return ChainClient(url, deployment_of(read_links(path).header), finality_depth=0)


def run_sync(path: Path, url: str) -> tuple[int, int]:
    with client(path, url) as node:
        done = sync(path, node)
    return done.links, done.key_events


def not_passed(bundle: Bundle, path: Path) -> dict[str, str]:
    report = verify(encode_bundle(bundle), load_trust(path))
    return {check.name: check.verdict.value for check in report.checks if check.verdict is not Verdict.PASS}


# ------------------------------------------------------------------ sync


def test_links_are_kept_resumed_and_trusted(scene: ChainEvidence, links: Path) -> None:
    url = scene.stage.node.url
    assert run_sync(links, url) == (len(scene.links), 1)
    assert not_passed(scene.bundle(), links) == {"chain-facts": "not checked"}
    before = links.read_bytes()
    time.sleep(1.2)  # an empty block
    scene.anchor_extra()
    assert run_sync(links, url) == (1, 0)
    assert links.read_bytes().startswith(before)
    assert run_sync(links, url)[0] == 0
    kept = read_links(links)
    assert list(kept.anchors[scene.anchorer.address].values()) == scene.links
    assert kept.keys[scene.device] == scene.key_events


def test_a_stop_in_the_middle_of_writing_loses_nothing(scene: ChainEvidence, links: Path) -> None:
    url = scene.stage.node.url
    run_sync(links, url)
    whole = links.read_bytes()
    first_line = whole.index(b"\n") + 1
    for cut in (first_line, first_line + 40, len(whole) - 30, len(whole) - 1):
        links.write_bytes(whole[:cut])
        run_sync(links, url)
        assert read_links(links).all_heads == set(load_trust(links).heads)
        assert not_passed(scene.bundle(), links) == {"chain-facts": "not checked"}
    links.write_bytes(whole + b'{"anchorer":"0x12')
    run_sync(links, url)
    assert links.read_bytes().startswith(whole)


@pytest.mark.parametrize(("old", "new"), [
    (b'"root":"0x', b'"root":"0xf'), (b'"timeS":', b'"timeS":1'), (b'"device":"0x', b'"device":"0x00'), (b'"anchorer"', b'"anchored"'),
    (b'{"through":', b'{"thru":'), (b"wattproof-links", b"other"), (b'"chainId":', b'"chainId":-'), (b'"role":1', b'"role":2'),
    (b'"oldKey":"0x0', b'"oldKey":"0x1'),
])  # fmt: skip
def test_a_changed_file_of_links_is_refused_and_the_line_named(scene: ChainEvidence, links: Path, old: bytes, new: bytes) -> None:
    run_sync(links, scene.stage.node.url)
    whole = links.read_bytes()
    assert old in whole
    links.write_bytes(whole.replace(old, new, 1))
    if new == b'{"thru":':  # the only checkpoint is no longer one: nothing above it is believed
        assert read_links(links).all_heads == set()
        return
    with pytest.raises(Malformed, match=f"{links}:"):
        read_links(links)


def test_a_rewound_chain_is_named_and_the_file_kept(scene: ChainEvidence, links: Path) -> None:
    node = scene.stage.node
    snapshot = node.ask("evm_snapshot")
    time.sleep(1.1)
    node.mine()
    run_sync(links, node.url)
    whole = links.read_bytes()
    assert node.ask("evm_revert", snapshot)
    with pytest.raises(Rewound):
        run_sync(links, node.url)
    deadline = time.monotonic() + 30
    while node.head() < read_links(links).checkpoint.through:  # type: ignore[union-attr]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    with pytest.raises(Rewound, match="rewound"):
        run_sync(links, node.url)
    assert links.read_bytes() == whole


def test_another_chain_is_named(scene: ChainEvidence, links: Path, tmp_path: Path) -> None:
    raw = links.read_bytes()
    links.write_bytes(raw.replace(b'"genesisHash":"0x', b'"genesisHash":"0x00')[: raw.index(b'"registry"') - 1] + b"\n")
    with pytest.raises(Malformed):
        read_links(links)
    other = tmp_path / "other"
    start_file(other, scene.stage.deployment._replace(genesis_hash=bytes(32)))
    with pytest.raises(Rewound, match="another chain"):
        run_sync(other, scene.stage.node.url)


class Liar(http.server.BaseHTTPRequestHandler):
    """A node that answers as the real one does, after a change of its own."""

    upstream = ""
    change: Callable[[str, Any], Any] = staticmethod(lambda method, result: result)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        connection = http.client.HTTPConnection(urlsplit(self.upstream).netloc, timeout=20)
        connection.request("POST", "/", body, {"Content-Type": "application/json"})
        answer = json.loads(connection.getresponse().read())
        connection.close()
        if "result" in answer:
            answer["result"] = type(self).change(json.loads(body)["method"], answer["result"])
        raw = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        """Nothing to say."""


@pytest.fixture
def lying(scene: ChainEvidence) -> Iterator[Callable[[Callable[[str, Any], Any]], str]]:
    servers: list[http.server.ThreadingHTTPServer] = []

    def start(change: Callable[[str, Any], Any]) -> str:
        handler = type("Handler", (Liar,), {"upstream": scene.stage.node.url, "change": staticmethod(change)})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_node_that_leaves_an_event_out_or_makes_one_up_is_named(
    scene: ChainEvidence, links: Path, lying: Callable[[Callable[[str, Any], Any]], str]
) -> None:
    scene.anchor_extra()

    log = "0x" + scene.anchor_log.hex()

    def without_first(method: str, result: Any) -> Any:
        anchors = [each for each in result if each["address"].lower() == log] if method == "eth_getLogs" else []
        return [each for each in result if each not in anchors[:1]] if anchors else result

    def without_last(method: str, result: Any) -> Any:
        return result[:-1] if method == "eth_getLogs" else result

    def with_another_root(method: str, result: Any) -> Any:
        if method == "eth_getLogs" and result:
            result[-1]["data"] = "0x" + "ab" * 32 + result[-1]["data"][66:]
        return result

    for change in (without_first, without_last, with_another_root):
        start = links.read_bytes()
        with pytest.raises(Withheld):
            run_sync(links, lying(change))
        links.write_bytes(start[: start.index(b"\n") + 1])


# ------------------------------------------------------------------ compare-chain


def compared(scene: ChainEvidence, bundle: Bundle) -> dict[str, str]:
    report = compare(encode_bundle(bundle), scene.stage.node.url, finality_depth=0)
    assert set(CHAIN_CHECKS) <= {check.name for check in report.checks}
    return {check.name: check.detail for check in report.checks if check.verdict is not Verdict.PASS}


def test_an_honest_bundle_agrees_with_the_node_in_every_check(scene: ChainEvidence) -> None:
    assert compared(scene, scene.bundle()) == {}


def test_what_the_chain_does_not_say_is_named(scene: ChainEvidence) -> None:
    good = scene.bundle()
    session = good.session
    assert compared(scene, good._replace(claimed_micro=good.claimed_micro - 1))["chain-money"].startswith("claimedMicro")
    assert "chain-money" in compared(scene, good._replace(session=session._replace(lock_micro=session.lock_micro + 1)))
    assert "chain-money" in compared(scene, good._replace(session=session._replace(opened_at_s=session.opened_at_s - 1)))
    note = CreditNote(1, 1, scene.links[0].transaction or b"")
    assert "gave no such credit note" in compared(scene, good._replace(credit_notes=(note,)))["chain-money"]
    link = good.links[0]
    assert "chain-links" in compared(scene, good._replace(links=(link._replace(block_number=link.block_number + 1), *good.links[1:])))
    assert "newest final block" in compared(scene, good._replace(links=(link._replace(block_number=10**6), *good.links[1:])))["chain-links"]
    other = compared(scene, good._replace(links=(link._replace(transaction=bytes(32)), *good.links[1:])))
    assert "was anchored by transaction" in other["chain-links"]
    assert "no such anchor" in compared(scene, good._replace(links=(link._replace(root=bytes(32)), *good.links[1:])))["chain-links"]
    assert "now says" in compared(scene, good._replace(session=session._replace(rated_watts=session.rated_watts + 1)))["chain-device"]


def test_keys_halts_and_code_are_asked(scene: ChainEvidence) -> None:
    good = scene.bundle()
    event = good.key_events[0]._replace(new_key=Signer.create().address)
    assert "chain-keys" in compared(scene, good._replace(key_events=(event,)))
    assert "chain-keys" in compared(scene, good._replace(key_events=()))
    number = scene.links[0].block_number
    before, after = scene.client.block(number), scene.client.block(number + 1)
    assert before is not None
    assert after is not None
    true = ChainHalt(number, before.time_s, after.time_s)
    assert compared(scene, good._replace(chain_halts=(true,))) == {}
    assert "chain-halts" in compared(scene, good._replace(chain_halts=(true._replace(until_s=after.time_s + 100),)))
    token = scene.stage.deployment.token
    elsewhere = compared(scene, good._replace(session=good.session._replace(escrow=token)))
    assert "EnergyEscrow" in elsewhere["chain-code"]
    assert "the node serves chain" in compared(scene, good._replace(session=good.session._replace(chain_id=1)))["chain-code"]


def auditor(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "auditor", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_the_commands(scene: ChainEvidence, tmp_path: Path) -> None:
    url, bundle, kept = scene.stage.node.url, tmp_path / "bill.wattproof", tmp_path / "kept"
    bundle.write_bytes(encode_bundle(scene.bundle()))
    deployment = tmp_path / "deployment.json"
    save(scene.stage.deployment, deployment)
    missing = auditor("sync", str(kept), "--rpc", url)
    assert (missing.returncode, "--deployment" in missing.stderr) == (2, True)
    done = auditor("sync", str(kept), "--rpc", url, "--deployment", str(deployment), "--finality-depth", "0")
    assert done.returncode == 0, done.stderr
    assert "1 new key events" in done.stdout
    checked = auditor("verify", str(bundle), "--trust", str(kept), "--json")
    assert checked.returncode == 0
    assert json.loads(checked.stdout)["notChecked"] == ["chain-facts"]
    against = auditor("compare-chain", str(bundle), "--rpc", url, "--finality-depth", "0", "--json")
    assert against.returncode == 0, against.stdout + against.stderr
    assert json.loads(against.stdout)["notChecked"] == []
    nobody = auditor("compare-chain", str(bundle), "--rpc", "http://127.0.0.1:9")
    assert nobody.returncode == 69
    assert "Traceback" not in nobody.stderr
    assert nobody.stderr.count("\n") == 1
    bundle.write_bytes(encode_bundle(scene.bundle()._replace(claimed_micro=0)))
    assert auditor("compare-chain", str(bundle), "--rpc", url, "--finality-depth", "0").returncode == 18
