"""The tables, one module a noun."""

from .accounts import Act, AlarmNote, ApiToken, Login, LogInAttempt, SignInText, User
from .base import HOUSE, Base
from .chain import AnchorLinkRow, AttemptRow, ChainEventRow, ChainHaltRow, ClaimRow, IntentRow, KeyEventRow, KnownBlock
from .evidence import ConflictRow, Epoch, FrameRow, Incarnation, OcmfText, ReceiptRow, RuledOutFrame, RulingRow
from .house import Alarm, Delivery, Fact, IdempotencyKey, Lease, Operator
from .money import Account, Transfer
from .offers import OfferPoint, OfferRow, PointSeller, ProviderRow
from .points import Device, DeviceKey, HandOverRow, Point, Reading, TariffRow, Voucher
from .rails import Deposit, Payout, PayoutPart, RailEvent, RailMovement
from .sessions import SessionFrame, SessionRow, SessionStep, SignedAmount, SignedRequest
from .supply import AgentMessage, Command, Confirmation, DisconnectionRow, HelloNonce
from .tasks import TaskRow, TaskWord
from .wallets import WalletNote, WalletRow

__all__ = [
    "HOUSE", "Account", "Act", "AgentMessage", "Alarm", "AlarmNote", "AnchorLinkRow", "ApiToken", "AttemptRow", "Base", "ChainEventRow",
    "ChainHaltRow", "ClaimRow", "Command", "Confirmation", "ConflictRow", "Delivery", "Deposit", "Device", "DeviceKey",
    "DisconnectionRow", "Epoch", "Fact", "FrameRow", "HandOverRow", "HelloNonce", "IdempotencyKey", "Incarnation", "IntentRow",
    "KeyEventRow", "KnownBlock", "Lease", "LogInAttempt", "Login", "OcmfText", "OfferPoint", "OfferRow", "Operator", "Payout",
    "PayoutPart", "Point", "PointSeller", "ProviderRow", "RailEvent", "RailMovement", "Reading", "ReceiptRow", "RuledOutFrame",
    "RulingRow", "SessionFrame", "SessionRow", "SessionStep", "SignInText", "SignedAmount", "SignedRequest", "TariffRow", "TaskRow",
    "TaskWord", "Transfer", "User", "Voucher", "WalletNote", "WalletRow",
]  # fmt: skip
