"""Everything Drystone raises on purpose.

Catch the class that matches the decision you can take; every one of them is a `DrystoneError`::

    DrystoneError
    ├── PipelineDefinitionError (ValueError)      the graph is wrong; all its defects are listed
    │   └── ParameterError                        the call of a pipeline does not fit its parameters
    ├── TargetError (LookupError)                 no pipeline stands where the target points
    ├── PlanError                                 this pipeline cannot run on this stack; nothing was started
    ├── RunError
    │   ├── RunFailedError                        a run ended without success: `.run` is its record
    │   │   └── RunCancelledError                 it was cancelled, by Ctrl-C or `drystone cancel`
    │   ├── StepFailedError                       user code raised somewhere its exception object could not leave
    │   │   ├── StepTimeoutError                  a step took longer than its timeout, and was ended
    │   │   ├── MemoryLimitError                  a step took more memory than it may, and was ended
    │   │   └── WorkerDiedError                   the process that ran a step died: killed, crashed, or it exited
    │   ├── ReplayError                           a recorded step cannot be called as it was
    │   └── OutputError (TypeError)               a step returned what its annotation does not promise
    ├── StepContextError                          a call that belongs inside (or outside) a step
    │   └── VersionPendingError                   the version exists once the step is committed
    ├── EncodingError (TypeError)                 a value has no deterministic encoding
    ├── ArtifactError
    │   ├── MaterializerError (TypeError)         no materializer takes (or may take) this type
    │   ├── BlobLostError                         bytes that the ledger promises are missing or damaged
    │   └── ArtifactStoreError (OSError)          a store refused or cannot be used
    │       ├── StoreAccessError                  it wants other credentials, or forbids this to whoever has them
    │       └── StoreUnreachableError             it does not answer: trying again may help
    ├── RegistryError (OSError)                   a container registry refused a request
    │   ├── RegistryAccessError                   it wants other credentials, or forbids this to whoever has them
    │   ├── RegistryUnreachableError              it does not answer: trying again may help
    │   └── ImageNotFoundError (LookupError)      neither it nor the container engine has the image
    ├── EngineError (OSError)                     a container engine refused a request or cannot be used
    │   ├── EngineAccessError                     whoever this is may not use it
    │   ├── EngineUnreachableError                it does not run, or does not answer
    │   └── ImageBuildError                       an image could not be built; what the build printed says why
    ├── NotFoundError (LookupError)               no such run, artifact, model, version, stage
    ├── StageError (ValueError)                   a promotion or rollback that must not happen
    ├── StackError (ValueError)                   stacks.py or a stack does not fit
    │   └── StackNotFoundError (LookupError)
    ├── CapabilityError                           a component was asked for what it says it cannot do
    ├── PluginError
    │   ├── PluginLoadError (ImportError)         installed but unusable
    │   ├── ComponentNotFoundError (LookupError)  nothing installed offers that name
    │   └── DuplicateComponentError               two distributions claim one name
    └── WorkspaceError
        ├── WorkspaceAccessError                  whoever this is may not do that in a shared workspace
        ├── WorkspaceUnreachableError             a shared workspace does not answer: trying again may help
        │   └── CommitUnclearError                it stopped answering within a commit: it is there, or it is not
        ├── LedgerConflict                        somebody else took this sequence number
        ├── LedgerDamagedError                    a commit is altered, missing or foreign
        ├── RunLostError                          a run is no longer its driver's: taken for dead, or resumed
        └── FormatError                           written by a version of Drystone this one cannot read

What can be used, but not as it should be, is a warning: `StaleWarning`.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Sequence


class DrystoneError(Exception):
    """The root of every error that Drystone raises on purpose."""


class PipelineDefinitionError(DrystoneError, ValueError):
    """A pipeline's graph is wrong. Every defect found is in `problems`."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__(listed(problems))


class ParameterError(PipelineDefinitionError):
    """The arguments of a call do not fit the parameters of a pipeline or step."""


class TargetError(DrystoneError, LookupError):
    """A target (`module:pipeline` or `path/to/file.py:pipeline`) leads nowhere."""


class PlanError(DrystoneError):
    """A pipeline cannot run on a stack as things are. Nothing was started."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__(listed(problems))


class RunError(DrystoneError):
    """Something went wrong while a run was running."""


class RunFailedError(RunError):
    """A run ended without success.

    `run` is its record; the exception of the first failed step is `__cause__`.
    """

    def __init__(self, message: str, run: object) -> None:
        self.run = run
        super().__init__(message)


class RunCancelledError(RunFailedError):
    """A run was cancelled before it was done."""


class StepFailedError(RunError):
    """User code raised in a place its exception object could not leave; the text holds its traceback."""


class ReplayError(RunError):
    """A recorded step cannot be called again as it was. Every reason is in `problems`."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__(listed(problems))


class StepTimeoutError(StepFailedError):
    """A step took longer than its timeout, and was ended with everything it had started."""


class MemoryLimitError(StepFailedError):
    """A step took more memory than its resources allow, and was ended with everything it had started."""


class WorkerDiedError(StepFailedError):
    """The process that ran a step died before it answered; the message names its signal or exit code."""

    @classmethod
    def of(cls, who: str, code: int) -> WorkerDiedError:
        """The error for an exit code, or minus a signal; `who` as in "The process that ran step 'train'"."""
        return cls(f"{who} {_end(code)}")


def _end(code: int) -> str:
    if code >= 0:
        return (
            f"exited with code {code} before the step was done. Something in it called os._exit, or a library did; a "
            "step ends by returning or raising."
        )
    name = signal.Signals(-code).name if -code in {*signal.Signals} else f"signal {-code}"
    if -code == signal.SIGKILL:
        return (
            "was killed (SIGKILL), and not by Drystone: by somebody, or by the system because memory ran out, which "
            "its log tells (dmesg). resources=Resources(memory=…) keeps steps that need much from running at once."
        )
    return (
        f"was ended by {name} ({signal.strsignal(-code)}). Where it was then is at the end of the step's log, if the "
        "signal left it the time to say so."
    )


class OutputError(RunError, TypeError):
    """A step returned a value that its annotation does not promise. Nothing of it was stored."""


class StepContextError(DrystoneError):
    """A function was called on the wrong side of a step's border."""


class VersionPendingError(StepContextError):
    """An artifact saved in a running step has no version until the step is committed."""


class EncodingError(DrystoneError, TypeError):
    """A value has no deterministic encoding, so no digest can stand for it."""


class ArtifactError(DrystoneError):
    """An artifact cannot be written or read."""


class MaterializerError(ArtifactError, TypeError):
    """No materializer takes this type here."""


class BlobLostError(ArtifactError):
    """Bytes that the ledger promises are missing or damaged."""


class ArtifactStoreError(ArtifactError, OSError):
    """An artifact store refused a request or cannot be reached."""


class StoreAccessError(ArtifactStoreError):
    """A store wants other credentials, or forbids this to whoever has them."""


class StoreUnreachableError(ArtifactStoreError):
    """A store does not answer, or not in time. Trying again may help."""


class RegistryError(DrystoneError, OSError):
    """A container registry refused a request."""


class RegistryAccessError(RegistryError):
    """A container registry wants other credentials, or forbids this to whoever has them."""


class RegistryUnreachableError(RegistryError):
    """A container registry does not answer; trying again may help."""


class ImageNotFoundError(RegistryError, LookupError):
    """An image is not where it is to be taken from: the container engine or the registry."""


class EngineError(DrystoneError, OSError):
    """A container engine refused a request or cannot be used."""


class EngineAccessError(EngineError):
    """A container engine may not be used by whoever this is."""


class EngineUnreachableError(EngineError):
    """A container engine does not run, or does not answer."""


class ImageBuildError(EngineError):
    """An image could not be built; what the build printed says why."""


class NotFoundError(DrystoneError, LookupError):
    """The workspace holds no such record."""


class StageError(DrystoneError, ValueError):
    """A promotion or rollback that must not happen."""


class StackError(DrystoneError, ValueError):
    """A stack, or the file that defines stacks, does not fit."""


class StackNotFoundError(StackError, LookupError):
    """No stack of that name is defined here."""


class CapabilityError(DrystoneError):
    """A component was asked for something that its `capabilities` do not hold."""


class PluginError(DrystoneError):
    """Something is wrong with an installed plugin."""


class PluginLoadError(PluginError, ImportError):
    """A plugin is installed but unusable."""


class ComponentNotFoundError(PluginError, LookupError):
    """Nothing installed offers a component, materializer or scheme of that name."""


class DuplicateComponentError(PluginError):
    """Two distributions claim one name."""


class WorkspaceError(DrystoneError):
    """A workspace cannot be used."""


class WorkspaceAccessError(WorkspaceError):
    """Whoever this is may not read, commit or promote in a shared workspace. Nothing was recorded."""


class WorkspaceUnreachableError(WorkspaceError):
    """A shared workspace does not answer, or not in time. Trying again may help."""


class CommitUnclearError(WorkspaceUnreachableError):
    """A shared workspace stopped answering while something was committed: nobody knows yet whether it is recorded."""


class LedgerConflict(WorkspaceError):  # noqa: N818 - a race, which the commit loop resolves, rather than a failure
    """The sequence number of a commit is already taken."""


class LedgerDamagedError(WorkspaceError):
    """A commit of the ledger is altered, missing or foreign."""


class RunLostError(WorkspaceError):
    """A run no longer belongs to the driver that goes on with it: it was taken for dead, or another one resumed it."""


class FormatError(WorkspaceError):
    """A workspace was written by a version of Drystone that this one cannot read."""


class StaleWarning(UserWarning):
    """A shared workspace does not answer, so what is said of it comes from this machine's copy; it says how old."""


def listed(problems: Sequence[str]) -> str:
    """One problem as it is, several as a list."""
    if len(problems) == 1:
        return problems[0]
    return f"{len(problems)} problems:\n" + "\n".join(f"  - {problem}" for problem in problems)


SHOWN = 20_000
"""Characters of an error that are recorded; of a longer one the beginning and the end."""


def message_of(exc: BaseException) -> str:
    """What an exception says, shortened, even if its class cannot say it."""
    try:
        return shortened(str(exc))
    except Exception as failure:
        return f"(no message: its __str__ raised {type(failure).__name__})"


def shortened(text: str) -> str:
    """A text of any length in at most about `SHOWN` characters."""
    half = SHOWN // 2
    return text if len(text) <= SHOWN else f"{text[:half]}\n… {len(text) - SHOWN} characters left out …\n{text[-half:]}"


def suggestion(name: str, known: Iterable[str], label: str = "Known") -> str:
    """The sentence that follows an unknown name: the nearest known one, then all of them."""
    import difflib  # noqa: PLC0415 - authoring imports this module, and only a mistake needs difflib

    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return f"{hint} {label}: {', '.join(names) if names else 'none'}."
