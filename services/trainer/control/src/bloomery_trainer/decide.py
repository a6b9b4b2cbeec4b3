"""What to do about a job: one pure function from what is known to one action.

Whatever it answers is safe to carry out again, because carrying out compares the job's version first.
"""

from dataclasses import dataclass

from bloomery_trainer import reasons
from bloomery_trainer.actions import (
    Action,
    Adopt,
    Cancel,
    Condemn,
    Fail,
    Hold,
    Launch,
    Note,
    Pause,
    Prepare,
    Relaunch,
    Remove,
    Requeue,
    Retry,
    Stop,
    Wait,
)
from bloomery_trainer.launcher import Launched, Phase, follows
from bloomery_trainer.model import Attempt, Job, Outcome, Reason, State
from bloomery_trainer.settings import Policy

_WORDS_STAND = 60.0
"""Seconds before the same reason is told in other words."""


@dataclass(frozen=True)
class Facts:
    """All that is known about one job.

    `current` says that what is launched was looked at after the job had last moved. `judged` says that a waiting job
    was weighed against all others, and `obstacle` why it cannot be launched now, None if it can. Times are in seconds
    by a clock that never jumps: `waited` since the job came into its state, `silent` since the worker's last call,
    `refused` since its start is refused for the same reason, `told` since it has had its reason, `stalled` since it
    said that nothing moves, `ended` since the attempt's last word, `queued` and `worked` over the job's life.
    """

    job: Job
    attempt: Attempt | None
    launched: Launched | None
    current: bool = True
    judged: bool = True
    obstacle: Reason | None = None
    waited: float = 0.0
    silent: float = 0.0
    refused: float = 0.0
    told: float = 0.0
    stalled: float = 0.0
    ended: float = 0.0
    queued: float = 0.0
    worked: float = 0.0


def decide(facts: Facts, policy: Policy) -> Action:
    """The one thing to do next."""
    match facts.job.state:
        case State.PENDING:
            return _pending(facts, policy)
        case State.QUEUED | State.PREPARING | State.RUNNING:
            return _active(facts, policy)
        case State.PAUSING:
            return _pausing(facts, policy)
        case State.CANCELLING:
            return _cancelling(facts, policy)
        case _:
            return _tidy(facts, policy)


def _pending(facts: Facts, policy: Policy) -> Action:
    if facts.launched is not None:
        return _tidy(facts, policy)
    if not facts.job.held:
        return Hold()
    if 0 < policy.queue_timeout < facts.queued:
        return Fail(reasons.queue_timeout(facts.job.reason))
    if not facts.judged or facts.waited < facts.job.retry_delay:
        return Wait()
    if facts.obstacle is not None:
        return _noted(facts, facts.obstacle)
    return Launch()


def _active(facts: Facts, policy: Policy) -> Action:
    attempt, launched = _attempt(facts), facts.launched
    if attempt.end_reason is not None and _runs(launched):
        return _see_off(facts, policy)
    if attempt.end_reason is not None:
        return settle(facts.job, attempt.end_reason, policy)
    if launched is None and attempt.launched_at is None:
        return Relaunch()
    if launched is None:
        return settle(facts.job, reasons.deleted_externally(), policy) if facts.current else Wait()
    if launched.phase is Phase.ENDED:
        return _ended(facts.job, launched, policy)
    if _is_taken_away(facts.job, attempt, launched):
        reason = launched.reason or reasons.preempted()
        return Requeue(reason, launched.incarnation) if facts.current else Wait()
    if launched.phase is Phase.SUSPENDED:
        return _noted(facts, reasons.preempted())
    if launched.phase is Phase.WAITING and facts.job.state is State.QUEUED:
        return _queued(facts, launched, policy)
    return _running(facts, attempt, launched, policy)


def _is_taken_away(job: Job, attempt: Attempt, launched: Launched) -> bool:
    """Whether the attempt has lost its worker: another one is there, or none is at work."""
    if follows(launched.incarnation, attempt.incarnation):
        return True
    if job.state is State.QUEUED or launched.phase is Phase.RUNNING:
        return False
    # What has called us does not wait, whatever the launcher has heard of it so far.
    begun = attempt.worker_id is not None and launched.incarnation == attempt.incarnation != ""
    return launched.phase is Phase.SUSPENDED or not begun


def _queued(facts: Facts, launched: Launched, policy: Policy) -> Action:
    if 0 < policy.queue_timeout < facts.queued:
        return Condemn(reasons.queue_timeout(launched.reason))
    reason = launched.reason
    if reason is None:
        return Wait()
    late = reason.code in reasons.REFUSALS and facts.refused > policy.refusal_grace
    return Condemn(reason) if late or _final(reason) else _noted(facts, reason)


def _running(facts: Facts, attempt: Attempt, launched: Launched, policy: Policy) -> Action:
    job = facts.job
    if job.state is State.QUEUED:
        return Prepare(launched.incarnation)
    if 0 < job.spec.deadline_seconds < facts.worked:
        return Condemn(reasons.deadline(job.spec.deadline_seconds))
    if attempt.worker_id is None:
        lost = reasons.worker_lost(f"the worker did not call within {policy.launch_grace:.0f} s")
        return Condemn(lost) if facts.waited > policy.launch_grace else Wait()
    if facts.silent > policy.lost_after:
        return Condemn(reasons.worker_lost(f"the worker has not reported for {facts.silent:.0f} s"))
    if facts.stalled > policy.stall_grace:
        return Condemn(reasons.stalled())
    return _watch_heartbeat(facts, policy)


def _watch_heartbeat(facts: Facts, policy: Policy) -> Action:
    suspected = facts.job.reason is not None and facts.job.reason.code == reasons.SUSPECT
    if facts.silent > policy.suspect_after and not suspected:
        return Note(reasons.suspect(facts.silent))
    return Note(None) if suspected and facts.silent <= policy.suspect_after else Wait()


def _pausing(facts: Facts, policy: Policy) -> Action:
    attempt, launched = _attempt(facts), facts.launched
    if launched is None or not _runs(launched):
        return _paused(facts.job, attempt, launched, policy)
    if attempt.outcome is not None:
        return _see_off(facts, policy)
    late = _nobody_listens(facts, attempt, launched) or facts.waited > policy.pause_grace
    return Stop(policy.stop_grace) if late else Wait()


def _paused(job: Job, attempt: Attempt, launched: Launched | None, policy: Policy) -> Action:
    if launched is None or attempt.outcome is not None:
        return Pause()
    reason = _verdict(launched)
    if not reason.retriable:
        return settle(job, reason, policy)
    return Adopt(Pause()) if launched.exit_code == 0 else Pause()


def _cancelling(facts: Facts, policy: Policy) -> Action:
    attempt, launched = _attempt(facts), facts.launched
    if launched is None or not _runs(launched):
        return Cancel()
    if facts.job.force:
        return Stop(0.0)
    if attempt.outcome is not None:
        return _see_off(facts, policy)
    late = _nobody_listens(facts, attempt, launched) or facts.waited > policy.cancel_grace
    return Stop(policy.stop_grace) if late else Wait()


def _nobody_listens(facts: Facts, attempt: Attempt, launched: Launched) -> bool:
    gone = facts.current and follows(launched.incarnation, attempt.incarnation)
    return gone or attempt.worker_id is None


def _tidy(facts: Facts, policy: Policy) -> Action:
    if facts.launched is None:
        return Wait()
    if not _runs(facts.launched):
        return Remove()
    return Stop(policy.stop_grace) if facts.waited > policy.exit_grace else Wait()


def _see_off(facts: Facts, policy: Policy) -> Action:
    # A worker that said its last word ends by itself; a condemned one may not even know.
    if _attempt(facts).outcome is Outcome.CONDEMNED:
        return Stop(policy.stop_grace)
    return Stop(policy.stop_grace) if facts.ended > policy.exit_grace else Wait()


def _ended(job: Job, launched: Launched, policy: Policy) -> Action:
    verdict = settle(job, _verdict(launched), policy)
    return Adopt(verdict) if launched.exit_code == 0 else verdict


def _verdict(launched: Launched) -> Reason:
    if launched.termination is not None and launched.termination.reason is not None:
        return launched.termination.reason
    return launched.reason or reasons.from_exit(launched.exit_code)


def settle(job: Job, reason: Reason, policy: Policy) -> Retry | Fail:
    """Whether an attempt that ended for `reason` is worth another one."""
    if not reason.retriable:
        return Fail(reason)
    infrastructure = reason.code in reasons.INFRASTRUCTURE
    used = job.infra_failures if infrastructure else job.failures
    budget = reasons.OWN_BUDGET.get(reason.code, policy.infra_retries if infrastructure else policy.retries)
    if used >= budget:
        return Fail(Reason(reason.code, f"{reason.message} (given up after {job.attempt} attempts)", reason.hint))
    delay = min(policy.retry_delay * 2.0**used, policy.retry_delay_max)
    return Retry(reason, delay, infrastructure)


def _noted(facts: Facts, reason: Reason) -> Action:
    told = facts.job.reason
    # A scheduler counts its nodes anew every few seconds; that fills no log.
    is_rewording = told is not None and told.code == reason.code and facts.told < _WORDS_STAND
    return Wait() if is_rewording or reason.says_the_same(told) else Note(reason)


def _final(reason: Reason) -> bool:
    return reason.code == "CONFIG_ERROR"


def _runs(launched: Launched | None) -> bool:
    return launched is not None and launched.phase is not Phase.ENDED


def _attempt(facts: Facts) -> Attempt:
    if facts.attempt is None:
        raise RuntimeError(f"{facts.job.name} is {facts.job.state.name} without an attempt")
    return facts.attempt
