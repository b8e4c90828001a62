"""A change that people sign: the next root or targets metadata with the files it names, in one portable file.

Each person takes the file to the machine that holds his key, reads what it changes, and adds a signature; it is
published once there are enough of them.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

from securesystemslib.signer import Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Targets

from workunits.trust.errors import TrustError
from workunits.trust.keys import key_id, name_of
from workunits.trust.names import ROOT, TARGETS

FORM: Final = 1
STAGED_BYTES_MAX: Final = 64 * 1024 * 1024


class StagedUnreadable(TrustError):
    """The file is not a staged change."""

    code: ClassVar[str] = "staged_unreadable"


class WrongSigner(TrustError):
    """This key has no say in what is to be signed."""

    code: ClassVar[str] = "wrong_signer"


class ThresholdMissed(TrustError):
    """Too few of the keys that must sign have signed."""

    code: ClassVar[str] = "threshold_missed"


@dataclass(kw_only=True)
class Staged:
    """`metadata` with whatever signatures it has, and the content of new target files by their path.

    `in_force` is the root when it was staged, `coming` the one that is to follow these targets: they tell a signer
    whose keys count, and are not believed by anybody else.
    """

    metadata: Metadata[Any]
    files: dict[str, bytes] = field(default_factory=dict)
    in_force: Metadata[Root] | None = None
    coming: Metadata[Root] | None = None

    @property
    def role(self) -> str:
        """`root` or `targets`."""
        return str(self.metadata.signed.type)

    def to_bytes(self) -> bytes:
        """Return the file."""
        files = {path: base64.b64encode(content).decode() for path, content in self.files.items()}
        document = {
            "form": FORM,
            "metadata": self.metadata.to_dict(),
            "files": files,
            "root": self.in_force.to_dict() if self.in_force else None,
            "coming": self.coming.to_dict() if self.coming else None,
        }
        return json.dumps(document, indent=1, sort_keys=True).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Staged:
        """Read a file. Raises StagedUnreadable; files that differ from what the metadata says of them are refused."""
        try:
            document = json.loads(content)
            staged = cls(
                metadata=Metadata.from_dict(document["metadata"]),
                files={path: base64.b64decode(text, validate=True) for path, text in document["files"].items()},
                in_force=Metadata[Root].from_dict(document["root"]) if document["root"] else None,
                coming=Metadata[Root].from_dict(document["coming"]) if document["coming"] else None,
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, RepositoryError) as error:
            raise StagedUnreadable(f"this is not a staged change: {type(error).__name__}: {error}") from None
        staged.check_files()
        staged.check_keys()
        return staged

    @classmethod
    def read(cls, path: Path) -> Staged:
        """Read a file on disk. Raises StagedUnreadable."""
        try:
            if path.stat().st_size > STAGED_BYTES_MAX:
                raise StagedUnreadable(f"{path} has more than {STAGED_BYTES_MAX} bytes.")
            return cls.from_bytes(path.read_bytes())
        except OSError as error:
            raise StagedUnreadable(f"{path} cannot be read: {error.strerror}.") from None

    def check_files(self) -> None:
        """Refuse a change whose files are not those that its metadata names."""
        if self.role not in (ROOT, TARGETS):
            raise StagedUnreadable(f"people sign root and targets, not {self.role}")
        named = self.metadata.signed.targets if isinstance(self.metadata.signed, Targets) else {}
        for path, content in self.files.items():
            if path not in named:
                raise StagedUnreadable(f"the metadata does not name {path}")
            try:
                named[path].verify_length_and_hashes(content)
            except RepositoryError:
                raise StagedUnreadable(f"{path} is not the file that the metadata names") from None

    def check_keys(self) -> None:
        """Refuse a key under an id that is not its own.

        Signers compare ids, and thresholds count them: a stranger's key must not pass for a person's, nor one
        person's for two.
        """
        signed = self.metadata.signed
        delegations = signed.delegations if isinstance(signed, Targets) else None
        keys = signed.keys if isinstance(signed, Root) else delegations.keys if delegations else {}
        for keyid, key in keys.items():
            if key_id(key) != keyid:
                raise StagedUnreadable(f"the key {name_of(key)} stands under the id {keyid[:12]}, which is not its own")

    def sign(self, signer: Signer) -> None:
        """Add one signature. Raises WrongSigner when neither the root in force nor a new one knows the key."""
        keyid = signer.public_key.keyid
        if not any(keyid in delegator.roles[self.role].keyids for delegator in self._delegators()):
            raise WrongSigner(f"the key {keyid[:12]} does not sign {self.role}")
        self.metadata.sign(signer, append=True)

    def missing(self) -> list[str]:
        """Return, for each set of keys that must sign, a sentence about what is missing; none when it is complete."""
        sentences = []
        for delegator in self._delegators():
            result = delegator.get_verification_result(self.role, self.metadata.signed_bytes, self.metadata.signatures)
            if not result.verified:
                who = ", ".join(sorted(name_of(key) for key in result.unsigned.values()))
                signed = f"{len(result.signed)} of {result.threshold} signatures"
                sentences.append(
                    f"{self.role} version {self.metadata.signed.version} has {signed}; not signed yet by: {who}"
                )
        return sentences

    def check(self, root: Root) -> None:
        """Refuse a change that too few keys of `root` have signed (and, for a new root, of its own as well)."""
        trusted = Staged(metadata=self.metadata, files=self.files, in_force=Metadata(root))
        missing = trusted.missing()
        if missing:
            raise ThresholdMissed("; ".join(missing))

    def _delegators(self) -> list[Root]:
        known = [root.signed for root in (self.in_force, self.coming) if root is not None]
        new = self.metadata.signed
        return [*known, new] if isinstance(new, Root) else known
