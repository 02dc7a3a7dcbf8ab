"""`python -m chain deploy` and `check`: run as people run them, interrupted as machines are."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from eth_account import Account

from chain.calls import Call
from chain.deploy import plan_path
from chain.rpc import Rpc
from chain.transactions import TransactionSigner

from .conftest import ticking
from .nodes import ROOT, DevChain

Start = Callable[..., DevChain]
OLDER = ("DeviceRegistry", "AnchorLog", "EnergyEscrow", "SettlementToken")
"""What a deployment had before there were wallets."""


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "chain", *map(str, arguments)]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
    )  # fmt: skip


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.02)


def test_a_deployment_killed_halfway_is_finished_by_the_next_run(devchain: Start, tmp_path: Path) -> None:
    port, out = free_port(), tmp_path / "deployment.json"
    chain = devchain("--port", port, "--block-time", "3600")
    arguments = ("deploy", "--rpc", chain.url, "--dev-account", 0, "--out", out)
    first = subprocess.Popen(command(*arguments), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    wait_for(plan_path(out))
    time.sleep(0.3)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    planned = {name: "0x" + address for name, _, address, *_ in json.loads(plan_path(out).read_text())["steps"]}
    chain.stop(signal.SIGKILL)  # and with it the pool: nothing of what was sent is left
    chain = devchain("--port", port, "--block-time", "3600")
    with ticking(chain):
        done = run(*arguments)
        assert done.returncode == 0, done.stderr
        again = run(*arguments)
        assert again.returncode == 0, again.stderr
    assert json.loads(out.read_text())["contracts"] == planned
    assert not plan_path(out).exists()
    nonce = chain.ask("eth_getTransactionCount", "0x" + chain.address(0).hex(), "latest")
    assert int(nonce, 16) == 10  # eight contracts and two admissions, over three runs
    checked = run("check", "--rpc", chain.url, "--deployment", out)
    assert checked.returncode == 0
    assert "code is that of our artifacts" in checked.stdout


def test_a_plan_whose_nonces_are_gone_is_made_anew(devchain: Start, tmp_path: Path) -> None:
    out = tmp_path / "deployment.json"
    chain = devchain("--block-time", "3600")
    arguments = ("deploy", "--rpc", chain.url, "--dev-account", 0, "--out", out)
    first = subprocess.Popen(command(*arguments), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    wait_for(plan_path(out))
    first.send_signal(signal.SIGKILL)
    first.communicate()
    with Rpc(chain.url) as rpc:
        signer = TransactionSigner(rpc, chain.key(0))
        theirs = signer.bump(Call(signer.address, b"", "nothing"), signer.sign_nothing(0))  # dearer, in case ours waits already
        assert theirs is not None
        rpc.send(theirs.raw)
    with ticking(chain):
        done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert "making a new plan" in done.stdout
    assert run("check", "--rpc", chain.url, "--deployment", out).returncode == 0


def test_an_encrypted_key_file_deploys(devchain: Start, tmp_path: Path) -> None:
    chain = devchain("--block-time", "3600")
    key_file, passphrase_file = tmp_path / "key.json", tmp_path / "passphrase"
    key_file.write_text(json.dumps(Account.encrypt(chain.key(5), "long and secret", iterations=2)))
    passphrase_file.write_text("long and secret\n")
    arguments = ("deploy", "--rpc", chain.url, "--key-file", key_file, "--passphrase-file", passphrase_file, "--out", tmp_path / "d.json")
    os.chmod(key_file, 0o644)
    os.chmod(passphrase_file, 0o600)
    readable = run(*arguments)
    assert readable.returncode == 1
    assert "chmod 600" in readable.stderr
    os.chmod(key_file, 0o600)
    alone = run(*arguments)
    assert "--cap-keeper" in alone.stderr
    keeper = "0x" + chain.address(6).hex()
    with ticking(chain):
        done = run(*arguments, "--cap-keeper", keeper, "--operator", "0x" + chain.address(7).hex())
    assert done.returncode == 0, done.stderr
    passphrase_file.write_text("another")
    wrong = run(*arguments, "--cap-keeper", keeper)
    assert "wrong passphrase" in wrong.stderr
    for output in (done, wrong, alone, readable):
        assert chain.key(5).hex() not in output.stdout + output.stderr
        assert "Traceback" not in output.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["deploy", "--rpc", "http://127.0.0.1:9", "--out", "x.json"], "give either"),
        (["deploy", "--rpc", "http://127.0.0.1:9", "--out", "x.json", "--dev-account", "0"], "does not answer"),
        (["deploy", "--rpc", "node", "--out", "x.json", "--dev-account", "0"], "URL"),
        (["deploy", "--rpc", "http://127.0.0.1:9", "--out", "x.json", "--key-file", "absent"], "No such file"),
        (["check", "--rpc", "http://127.0.0.1:9", "--deployment", "absent.json"], "No such file"),
    ],
)
def test_mistakes_get_a_sentence(arguments: list[str], words: str) -> None:
    done = run(*arguments)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_help_does_not_wait_for_web3() -> None:
    code = "import sys, chain.__main__, chain.client, chain.outbox, chain.events; sys.exit('web3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=False).returncode == 0


def test_an_older_deployment_goes_on_and_gains_what_it_lacks(devchain: Start, tmp_path: Path) -> None:
    """A file from before there were wallets is still good; `deploy` adds the rest around the same escrow and token."""
    out = tmp_path / "deployment.json"
    chain = devchain("--block-time", "3600")
    arguments = ("deploy", "--rpc", chain.url, "--dev-account", 0, "--out", out)
    with ticking(chain):
        assert run(*arguments).returncode == 0
        complete = json.loads(out.read_text())
        older = complete | {"contracts": {name: complete["contracts"][name] for name in OLDER}}
        out.write_text(json.dumps(older))
        assert run("check", "--rpc", chain.url, "--deployment", out).returncode == 0
        done = run(*arguments)
    assert done.returncode == 0, done.stderr
    now = json.loads(out.read_text())
    assert {name: now["contracts"][name] for name in OLDER} == older["contracts"]
    assert set(now["contracts"]) == set(complete["contracts"])
    assert now["blockNumber"] == complete["blockNumber"]
    added = set(now["contracts"].values()) - set(complete["contracts"].values())
    assert len(added) == len(complete["contracts"]) - len(OLDER)
