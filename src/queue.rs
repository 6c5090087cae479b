//! The queue on the source: claiming, acknowledging, putting back, and the dead letters.

use chrono::{DateTime, Utc};

use crate::database::{Parameters, Session};
use crate::error::{Doing, Error, Result};
use crate::sql;

/// A claimed event.
#[derive(Debug, Clone)]
pub struct Event {
    pub seq: i64,
    /// `None` where it concerns the whole table.
    pub reference_id: Option<String>,
    pub operation: String,
    pub attempts: i32,
    pub xid: String,
    pub origin: String,
    /// The parts of the key up to which a whole table was enqueued so far.
    pub progress_key: Option<Vec<String>>,
}

/// What a bill's claimed events say of whether a person is to look at it, where it cannot be posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Word {
    /// Nothing: all of them are looks of our own.
    #[default]
    None,
    /// Somebody asked for another try.
    Retried,
    /// An operator has said that it need not be posted.
    Resolved,
    /// It was changed, which counts more than an operator's word beside it, whichever came first: numbers do not tell whether the
    /// operator had seen the change.
    Changed,
}

impl Word {
    /// That of the events so far, and of the next one by its number.
    pub fn and(self, event: &Event) -> Word {
        match (self, event.operation.as_str(), event.origin.as_str()) {
            (Word::Changed, _, _) | (_, "insert" | "update" | "delete" | "truncate", _) => Word::Changed,
            (_, "resolve", _) => Word::Resolved,
            (_, _, "retry") => Word::Retried,
            _ => self,
        }
    }
}

/// Which events to claim.
#[derive(Debug, Clone)]
pub enum Claim {
    /// The oldest due ones, up to so many.
    Due { events_max: i64 },
    /// These, to find the bill that a batch failed on.
    Exactly { seqs: Vec<i64> },
}

/// How an event ended, as `daybook.sync_audit_log.outcome` spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Posted,
    NoEffect,
    Covered,
    Parked,
    Retained,
    OutOfScope,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Posted => "posted",
            Outcome::NoEffect => "no_effect",
            Outcome::Covered => "covered",
            Outcome::Parked => "parked",
            Outcome::Retained => "retained",
            Outcome::OutOfScope => "out_of_scope",
        }
    }
}

/// A finished event.
#[derive(Debug, Clone)]
pub struct Finished {
    pub seq: i64,
    pub outcome: Outcome,
    pub entry_id: Option<i64>,
}

/// What a synchronisation says to a bill's dead letter.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    pub reference_id: String,
    /// Number of the synchronisation that parked the bill first in this spell.
    pub spell: i64,
    /// Number of the synchronisation that speaks.
    pub synchronisation: i64,
    pub reason: String,
    pub advice: String,
    pub event_seq: i64,
    pub parked_at: DateTime<Utc>,
    /// `None` while it is parked; else how it was resolved.
    pub resolution: Option<&'static str>,
}

/// Claims events of one table until the transaction ends.
pub async fn claim(source: &Session, reference_type: &str, claim: &Claim) -> Result<Vec<Event>> {
    let rows = match claim {
        Claim::Due { events_max } => source.query(sql::CLAIM_DUE, &[&reference_type, events_max]).await,
        Claim::Exactly { seqs } => source.query(sql::CLAIM_EXACTLY, &[&reference_type, seqs]).await,
    }
    .doing("claiming events")?;
    let event = |row: tokio_postgres::Row| Event {
        seq: row.get(0),
        reference_id: row.get(1),
        operation: row.get(2),
        attempts: row.get(3),
        xid: row.get(4),
        origin: row.get(5),
        progress_key: row.get(6),
    };
    Ok(rows.into_iter().map(event).collect())
}

/// Finishes exactly the claimed events, inside the claiming transaction (design, rule 6).
pub async fn acknowledge(source: &Session, reference_type: &str, finished: &[Finished]) -> Result<()> {
    let seqs: Vec<i64> = finished.iter().map(|event| event.seq).collect();
    let outcomes: Vec<&str> = finished.iter().map(|event| event.outcome.as_str()).collect();
    let entry_ids: Vec<Option<i64>> = finished.iter().map(|event| event.entry_id).collect();
    let count = source
        .execute(sql::ACKNOWLEDGE, &[&reference_type, &seqs, &outcomes, &entry_ids])
        .await
        .doing("acknowledging events")?;
    if count != finished.len() as u64 {
        return Err(Error::Unexpected(format!("{count} events were acknowledged instead of {}", finished.len())));
    }
    Ok(())
}

/// Writes what the batch says to dead letters, in key order.
pub async fn write_dead_letters(
    source: &Session,
    source_name: &str,
    reference_type: &str,
    letters: &[DeadLetter],
) -> Result<()> {
    for resolved in [false, true] {
        let letters: Vec<&DeadLetter> =
            letters.iter().filter(|letter| letter.resolution.is_some() == resolved).collect();
        if letters.is_empty() {
            continue;
        }
        let ids: Vec<&str> = letters.iter().map(|letter| letter.reference_id.as_str()).collect();
        let spells: Vec<i64> = letters.iter().map(|letter| letter.spell).collect();
        let synchronisations: Vec<i64> = letters.iter().map(|letter| letter.synchronisation).collect();
        let reasons: Vec<&str> = letters.iter().map(|letter| letter.reason.as_str()).collect();
        let advices: Vec<&str> = letters.iter().map(|letter| letter.advice.as_str()).collect();
        let event_seqs: Vec<i64> = letters.iter().map(|letter| letter.event_seq).collect();
        let parked_at: Vec<DateTime<Utc>> = letters.iter().map(|letter| letter.parked_at).collect();
        let resolutions: Vec<&str> = letters.iter().filter_map(|letter| letter.resolution).collect();
        let mut parameters: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = vec![
            &source_name,
            &reference_type,
            &ids,
            &spells,
            &synchronisations,
            &reasons,
            &advices,
            &event_seqs,
            &parked_at,
        ];
        let statement = if resolved { sql::HEAL_DEAD_LETTERS } else { sql::PARK_DEAD_LETTERS };
        if resolved {
            parameters.push(&resolutions);
        }
        source.execute(statement, &parameters).await.doing("writing dead letters")?;
    }
    Ok(())
}

/// Puts events back with a later due time; `attempts` is how many have failed, 0 where nothing but time is needed.
pub async fn postpone(
    source: &Session,
    reference_type: &str,
    seqs: &[i64],
    delay_seconds: f64,
    attempts: i32,
    why: &str,
) -> Result<()> {
    let parameters: Parameters<'_> = &[&reference_type, &seqs, &delay_seconds, &attempts, &why];
    source.execute(sql::POSTPONE, parameters).await.doing("putting events back")?;
    Ok(())
}
