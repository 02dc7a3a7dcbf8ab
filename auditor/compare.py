"""`compare-chain`: a bundle against the auditor's own node.

What the node confirms becomes what the bundle is then verified against: heads of links that stand in its log, the registry's own head
of the device's keys, halts that its blocks show. So the report is `verify`'s, with the chain's own answers in place of `chain-facts`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from chain.artifacts import check_code, load
from chain.client import ChainClient
from chain.deployment import Deployment
from chain.errors import CodeDiffers
from chain.event_types import Anchored, CreditNoteGiven
from chain.events import MAX_BLOCKS, decode_log
from chain.rpc import Log, Rpc
from protocol.bundle import AnchorLink, Bundle, ChainHalt, link_heads
from protocol.control import KeyRole
from protocol.errors import Malformed

from .device_keys import meter_spans
from .report import Check, Problem, Report, in_order, judge, short
from .trust import Trust, key_heads
from .verify import Examined, examine_file, judge_bundle, no_collector, unreadable


class Answers(NamedTuple):
    """What a node said about a bundle."""

    problems: list[Problem]
    trust: Trust
    remarks: dict[str, str]  # check → what cannot be judged


def client_for(url: str, bundle: Bundle, finality_depth: int | None = None) -> ChainClient:
    """A client for the contracts that a bundle names, on the auditor's node. Raises `ChainError`."""
    session = bundle.session
    with Rpc(url, finality_depth=finality_depth) as rpc:
        chain_id, genesis = rpc.chain_id(), rpc.block(0)
    deployment = Deployment(
        chain_id, genesis.hash if genesis else bytes(32), 0, session.registry, session.anchor_log, session.escrow, bytes(20)
    )  # fmt: skip
    return ChainClient(url, deployment, finality_depth=finality_depth)


def compare(raw: bytes, url: str, *, subject: str = "bundle", finality_depth: int | None = None) -> Report:
    """The report on a bundle against a node. Raises `ChainError` where the node cannot be asked."""
    with no_collector():
        try:
            examined = examine_file(raw)
        except Malformed as error:
            return unreadable(subject, error)
    with client_for(url, examined.bundle, finality_depth) as client:
        answers = ask(client, examined)
    report = judge_bundle(subject, examined, answers.trust)
    kept = [check for check in report.checks if check.name != "chain-facts"]
    return report._replace(checks=in_order([*kept, *_checks(examined.bundle, answers)]))


def ask(client: ChainClient, examined: Examined) -> Answers:
    """Everything a node can tell about a bundle."""
    bundle = examined.bundle
    found = client.deployment.chain_id
    if found != bundle.session.chain_id:
        what = f"the node serves chain {found}, the bill is of chain {bundle.session.chain_id}"
        return Answers([Problem("chain-code", "session.chainId", what)], Trust(), dict.fromkeys(_NEED_CHAIN, "another chain"))
    problems = _code(client)
    if problems:
        return Answers(problems, Trust(), dict.fromkeys(_NEED_CHAIN, "the contracts are not ours"))
    used = {frame.link for frame in examined.frames if frame.link is not None and frame.link < len(bundle.links)}
    link_problems, heads = _links(client, bundle, sorted(used))
    key_problems, key_head = _keys(client, bundle)
    halt_problems, halts = _halts(client, bundle.chain_halts)
    device_remark = _device(client, bundle)
    problems += link_problems + key_problems + halt_problems + _money(client, bundle)
    trust = Trust(heads=frozenset(heads | key_head), halts=halts)
    return Answers(problems, trust, {"chain-device": device_remark} if device_remark else {})


_NEED_CHAIN = ("chain-links", "chain-keys", "chain-money", "chain-device", "chain-halts")


def _checks(bundle: Bundle, answers: Answers) -> list[Check]:
    session, problems, remarks = bundle.session, answers.problems, answers.remarks
    texts = {
        "chain-code": "registry, anchor log and escrow run the code this program knows",
        "chain-links": f"{len(answers.trust.heads)} heads stand in the node's log",
        "chain-keys": "the same keys, in the same blocks",
        "chain-money": f"lock {session.lock_micro}, claimed {bundle.claimed_micro}, {len(bundle.credit_notes)} credit note(s)",
        "chain-device": f"operator 0x{session.operator.hex()}, {session.rated_watts} W",
        "chain-halts": f"{len(bundle.chain_halts)} halt(s)",
    }
    return [judge(name, problems, text, unchecked=remarks.get(name, "")) for name, text in texts.items()]


# ------------------------------------------------------------------ one question each


def _code(client: ChainClient) -> list[Problem]:
    problems = []
    for name in ("DeviceRegistry", "AnchorLog", "EnergyEscrow"):
        address = client.deployment.address_of(name)
        try:
            check_code(load(name), address, client.code(address))
        except CodeDiffers as error:
            problems.append(Problem("chain-code", f"0x{address.hex()}", str(error)))
    return problems


def _windows(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ranges of at most `MAX_BLOCKS` blocks that hold all the numbers."""
    first = last = None
    for number in sorted(set(numbers)):
        if first is None or last is None:
            first = last = number
        elif number - first < MAX_BLOCKS:
            last = number
        else:
            yield first, last
            first = last = number
    if first is not None and last is not None:
        yield first, last


def _links(client: ChainClient, bundle: Bundle, used: Sequence[int]) -> tuple[list[Problem], set[bytes]]:
    """Links that frames lie in must stand in the log, in their block and transaction. A head commits to its time, so no block is asked."""
    final = client.final_head().number
    heads = link_heads(bundle.links)
    logs: dict[bytes, tuple[Log, Anchored]] = {}
    for first, last in _windows([bundle.links[i].block_number for i in used if bundle.links[i].block_number <= final]):
        for log in client.logs((bundle.session.anchor_log,), first=first, last=last):
            body = decode_log("AnchorLog", log)
            if isinstance(body, Anchored):
                logs[body.head] = (log, body)
    problems, found = [], set()
    for i in used:
        wrong = _misfit(bundle.links[i], logs.get(heads[i]), final)
        if wrong:
            problems.append(Problem("chain-links", f"link {i}", wrong))
        else:
            found.add(heads[i])
    return problems, found


def _misfit(link: AnchorLink, found: tuple[Log, Anchored] | None, final: int) -> str:
    if found is None:
        where = f"block {link.block_number}" + (f", and the newest final block is {final}" if link.block_number > final else "")
        return f"the chain has no such anchor in {where}"
    log, body = found
    if (body.anchorer, body.root, log.block.number) != (link.anchorer, link.root, link.block_number):
        return f"the chain has this head by 0x{body.anchorer.hex()} in block {log.block.number}"
    if link.transaction is not None and link.transaction != log.transaction:
        return f"was anchored by transaction 0x{log.transaction.hex()}"
    return ""


def _keys(client: ChainClient, bundle: Bundle) -> tuple[list[Problem], set[bytes]]:
    """The registry's head commits to the whole history; where it has gone on, what is older than the newest link must be the same."""
    device = bundle.session.device
    at = client.final_head().hash
    ours = key_heads(device, bundle.key_events)
    if ours and client.key_head(device, at) == ours[-1]:
        return [], {ours[-1]}
    newest_s = max((link.time_s for link in bundle.links), default=bundle.session.opened_at_s)
    theirs = [span for span in client.keys(device, KeyRole.METER, at) if span.from_s <= newest_s]
    mine = [span for span in meter_spans(bundle.key_events) if span.from_s <= newest_s]
    same = len(theirs) == len(mine) and all(
        (a.key, a.from_s, a.until_s if a.until_s and a.until_s <= newest_s else None)
        == (b.key, b.from_s, b.until_s if b.until_s is not None and b.until_s <= newest_s else None)
        and (not a.until_s or a.until_s > newest_s or a.last_frame == b.last_frame)
        for a, b in zip(theirs, mine, strict=True)
    )
    if not same or not ours:
        return [Problem("chain-keys", "keyEvents", "the registry has another history of meter keys for this device")], set()
    return [], {ours[-1]}


def _money(client: ChainClient, bundle: Bundle) -> list[Problem]:
    session = bundle.session
    state = client.session(session.terms, client.final_head().hash)
    problems = []
    for place, ours, theirs in (
        ("session.openedAtS", session.opened_at_s, state.opened_at_s),
        ("session.lockMicro", session.lock_micro, state.lock_micro),
        ("claimedMicro", bundle.claimed_micro, state.claimed_micro),
    ):
        if ours != theirs:
            problems.append(Problem("chain-money", place, f"is {ours} in the file, {theirs} in the escrow"))
    for i, note in enumerate(bundle.credit_notes):
        receipt = client.receipt(note.transaction)
        given = [decode_log("EnergyEscrow", log) for log in receipt.logs if log.address == session.escrow] if receipt else []
        if not any(isinstance(e, CreditNoteGiven) and (e.session, e.amount_micro) == (session.session, note.amount_micro) for e in given):
            problems.append(Problem("chain-money", f"creditNotes[{i}]", f"transaction {short(note.transaction)} gave no such credit note"))
    return problems


def _device(client: ChainClient, bundle: Bundle) -> str:
    """Operator and rating now; they may have changed since the session, so a difference is shown and not held against the file."""
    session = bundle.session
    if session.channel >= 1 << 32:
        return f"there is no channel {session.channel}"
    at = client.final_head().hash
    device, (watts, _) = client.device(session.device, at), client.channel(session.device, session.channel, at)
    if (device.operator, watts) == (session.operator, session.rated_watts):
        return ""
    now, then = f"operator 0x{device.operator.hex()}, {watts} W", f"operator 0x{session.operator.hex()}, {session.rated_watts} W"
    return f"the registry now says {now}; the file says {then}"


def _halts(client: ChainClient, halts: Sequence[ChainHalt]) -> tuple[list[Problem], tuple[ChainHalt, ...]]:
    problems, confirmed = [], []
    for i, halt in enumerate(halts):
        before, after = client.block(halt.from_block), client.block(halt.from_block + 1)
        if before is None or after is None or (before.time_s, after.time_s) != (halt.from_s, halt.until_s):
            problems.append(
                Problem("chain-halts", f"chainHalts[{i}]", f"the chain made blocks after block {halt.from_block} at other times")
            )
        else:
            confirmed.append(halt)
    return problems, tuple(confirmed)
