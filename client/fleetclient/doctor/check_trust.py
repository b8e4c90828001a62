"""Whose signatures this car believes, and whether the fleet's are fresh."""

from __future__ import annotations

from collections.abc import Iterator

from fleetclient.clock import wall_seconds
from fleetclient.doctor.context import Context
from fleetclient.doctor.report import Line, fail, ok, warn
from fleetclient.trust.verdict import Verdict, VerdictUnreadable
from fleetclient.words import say_seconds


def check_trust(context: Context) -> Iterator[Line]:
    """Find out whether the fleet's signed metadata was read, from which root, and until when it holds."""
    config = context.config
    if config is None:
        return
    if config.trust.mode == "off":
        mend = f'remove mode = "off" under [trust] in {context.config_file} on a real car'
        yield warn("trust", "off: this car believes its server", mend)
        return
    path = config.state_dir / "trust" / "verdict.json"
    try:
        verdict = Verdict.from_json(path.read_bytes())
    except FileNotFoundError:
        yield from _judge_unread(context)
        return
    except (OSError, VerdictUnreadable) as error:
        yield warn("trust", f"{path} cannot be read: {error}", f"remove {path}; the agent reads the signed files anew")
        return
    yield from _judge(verdict, pinned=config.trust.root_sha256)


def _judge_unread(context: Context) -> Iterator[Line]:
    config = context.config
    if config is None:
        return
    is_pinned = bool(config.trust.root_sha256 or config.trust.root_file)
    text = "the fleet's signed metadata has not been read yet" + (", its root is pinned" if is_pinned else "")
    yield warn("trust", text, "run the agent, or fleetclient pair; it is read at the first start")


def _judge(verdict: Verdict, *, pinned: str) -> Iterator[Line]:
    left = verdict.valid_until - wall_seconds()
    root = verdict.root_sha256
    if left <= 0:
        mend = "see that the agent reaches the server; if it does, the operator has stopped the fleet: ask there"
        yield fail("trust", f"the fleet's signed word ran out {say_seconds(-left)} ago: nothing runs", mend)
    else:
        yield ok("trust", f"the fleet's signed word holds for {say_seconds(left)}")
    if pinned and pinned != root:
        mend = "compare root_sha256 under [trust] with the operator's; if it is right, this is not your fleet's server"
        yield fail("root", f"the server's root is {root[:16]}…, another than the pinned one", mend)
    else:
        yield ok("root", f"fingerprint {root}" + ("" if pinned else " (not pinned; compare it with the operator's)"))
