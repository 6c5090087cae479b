//! One claim of a table, to its end: what happens after each kind of error. A batch that fails is split until the bill is found that it
//! fails on; only that one uses up an attempt, and is parked after the last.

use tokio::sync::watch;

use crate::connecting::raise_alert;
use crate::error::{Doing, Error, NextStep, Result};
use crate::posting::Parked;
use crate::queue::{self, Claim, Event};
use crate::settings::Settings;
use crate::synchronise::{Failure, Worker};

/// How often a definition that changed under a batch is looked at again, before its table waits.
const DEFINITION_CHANGES_MAX: u32 = 3;

/// What a step over one table came to.
pub(crate) enum Step {
    Done {
        events: usize,
    },
    /// Nothing can be done for this table now, and why.
    Hold(String),
}

/// One claim of one table, to its end: where a batch fails, its halves are tried, until the bill is found that it fails on.
pub(crate) async fn step(
    stop: &watch::Receiver<bool>,
    worker: &mut Worker,
    settings: &Settings,
    reference_type: &str,
    claim: Claim,
) -> Result<Step> {
    let mut claims = vec![claim];
    let mut events = 0;
    let mut looked_again = 0;
    while let Some(claim) = claims.pop() {
        if *stop.borrow() {
            break; // what was not claimed yet is there for the next one
        }
        let failure = match worker.pass(reference_type, &claim, None).await {
            Ok(pass) => {
                events += pass.events;
                if pass.events > 0 {
                    resolve_table_alert(worker, reference_type).await?;
                }
                continue;
            }
            Err(failure) => failure,
        };
        worker.rollback().await?;
        let Failure { error, events: claimed, of_the_table } = failure;
        match (error.next_step(), of_the_table) {
            _ if matches!(error, Error::DefinitionChanged(_)) => {
                looked_again += 1;
                if looked_again > DEFINITION_CHANGES_MAX {
                    return Ok(Step::Hold(error.to_string()));
                }
                claims.push(claim);
            }
            (_, true) | (NextStep::Halt | NextStep::Wait, false) => {
                tracing::warn!(reference_type, "{error}");
                if matches!(error.next_step(), NextStep::Halt | NextStep::Park) {
                    raise_table_alert(worker, reference_type, &error.to_string()).await;
                }
                return Ok(Step::Hold(error.to_string()));
            }
            (NextStep::Retry | NextStep::Park, false) => {
                if let Some(halves) = split(&claimed) {
                    tracing::debug!(reference_type, events = claimed.len(), "splitting a batch that failed: {error}");
                    claims.extend(halves);
                } else {
                    events += give_back(worker, settings, reference_type, &claimed, &error).await?;
                }
            }
        }
    }
    Ok(Step::Done { events })
}

/// Two claims, each with half of the bills; `None` where there is one bill only. The events of the whole table count as
/// one.
fn split(events: &[Event]) -> Option<[Claim; 2]> {
    let mut bills: Vec<(&Option<String>, Vec<i64>)> = Vec::new();
    let mut sorted: Vec<&Event> = events.iter().collect();
    sorted.sort_by(|a, b| (&a.reference_id, a.seq).cmp(&(&b.reference_id, b.seq)));
    for event in sorted {
        match bills.last_mut() {
            Some((reference_id, seqs)) if **reference_id == event.reference_id => seqs.push(event.seq),
            _ => bills.push((&event.reference_id, vec![event.seq])),
        }
    }
    if bills.len() < 2 {
        return None;
    }
    let second = bills.split_off(bills.len() / 2);
    let claim = |bills: Vec<(&Option<String>, Vec<i64>)>| Claim::Exactly {
        seqs: bills.into_iter().flat_map(|(_, seqs)| seqs).collect(),
    };
    Some([claim(bills), claim(second)])
}

/// An error that one bill causes alone: its attempt is counted, and it comes again later; after the last attempt, or where
/// its data can never be posted, it is parked.
async fn give_back(
    worker: &mut Worker,
    settings: &Settings,
    reference_type: &str,
    events: &[Event],
    error: &Error,
) -> Result<usize> {
    let attempts = events.iter().map(|event| event.attempts).max().unwrap_or_default() + 1;
    let seqs: Vec<i64> = events.iter().map(|event| event.seq).collect();
    if error.is_impossible() {
        let message = format!("a batch of {reference_type} met what cannot be; please report it with the log: {error}");
        raise_alert(&worker.source, "DATA_INCONSISTENCY", reference_type, &message).await;
    }
    let is_a_bill = events.iter().all(|event| event.reference_id.is_some());
    if is_a_bill && (error.next_step() == NextStep::Park || attempts >= settings.retry_attempts_max) {
        let parked = match error.next_step() {
            NextStep::Park => Parked::new(
                format!("the database refuses it: {error}"),
                format!(
                    "Correct the row; or the rule or chart of accounts, and SELECT daybook.retry('{reference_type}', ...)."
                ),
            ),
            _ => Parked::new(
                format!("failed {attempts} times, the last time with: {error}"),
                format!("Remove the cause, then SELECT daybook.retry('{reference_type}', ...)."),
            ),
        };
        let claim = Claim::Exactly { seqs: seqs.clone() };
        match worker.pass(reference_type, &claim, Some(&parked)).await {
            Ok(pass) => return Ok(pass.events),
            Err(failure) => {
                tracing::warn!(reference_type, "could not park a bill: {}", failure.error);
                worker.rollback().await?;
            }
        }
    }
    let delay = settings.retry_delay_seconds(attempts.min(settings.retry_attempts_max));
    tracing::warn!(reference_type, seqs = ?seqs, attempts, "tried again in {delay} s: {error}");
    let why = error.to_string();
    queue::postpone(&worker.source, reference_type, &seqs, delay, attempts, &why).await?;
    Ok(events.len())
}

const TABLE_UNREADABLE: &str = "TABLE_UNREADABLE";

/// An alert that cannot be raised must not keep the worker from the other tables.
pub(crate) async fn raise_table_alert(worker: &Worker, reference_type: &str, why: &str) {
    let message = format!("the bills of {reference_type} cannot be synchronised: {why}");
    raise_alert(&worker.source, TABLE_UNREADABLE, reference_type, &message).await;
}

async fn resolve_table_alert(worker: &Worker, reference_type: &str) -> Result<()> {
    worker
        .source
        .execute("SELECT daybook.resolve_alert($1, $2)", &[&TABLE_UNREADABLE, &reference_type])
        .await
        .doing("resolving an alert")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_batch_is_split_by_bills_and_never_within_one() {
        let event = |seq, reference_id: Option<&str>| Event {
            seq,
            reference_id: reference_id.map(str::to_string),
            operation: "update".into(),
            attempts: 0,
            xid: "1".into(),
            origin: "trigger".into(),
            progress_key: None,
        };
        assert!(split(&[event(1, Some("a")), event(2, Some("a"))]).is_none());
        assert!(split(&[event(1, None), event(2, None)]).is_none());
        let halves = split(&[event(1, Some("a")), event(2, Some("b")), event(3, Some("a")), event(4, None)]);
        let seqs: Vec<Vec<i64>> = halves
            .into_iter()
            .flatten()
            .map(|claim| match claim {
                Claim::Exactly { seqs } => seqs,
                Claim::Due { .. } => panic!("a half is claimed exactly"),
            })
            .collect();
        assert_eq!(seqs, [vec![4], vec![1, 3, 2]]);
    }
}
