//! What becomes of one bill: posted, parked or retained, and what its status, events and dead letter are told. Pure.

use std::collections::HashMap;

use crate::capture::Found;
use crate::ledger::{Book, ParkedSpell, Posting, State, Status};
use crate::posting::Parked;
use crate::posting::desired::desired;
use crate::posting::entries::{Entry, LiveEntry, entries};
use crate::posting::rule::Rule;
use crate::queue::{DeadLetter, Finished, Outcome};

/// What is to become of a bill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// The ledger agrees with the row once these are posted.
    Post(Vec<Entry>),
    /// The row cannot be posted.
    Park(Parked),
    /// The row is gone without the application's word; its entries stay.
    Retain,
}

impl Judgement {
    /// What is to be posted.
    pub fn entries(&self) -> &[Entry] {
        match self {
            Judgement::Post(entries) => entries,
            Judgement::Park(_) | Judgement::Retain => &[],
        }
    }

    /// Whether the bill's status has to be written: not where a bill that was never parked has nothing new to say.
    pub fn changes(&self, before: &Status) -> bool {
        !matches!(self, Judgement::Post(entries) if entries.is_empty())
            || before.state != State::Current
            || before.parked.is_some()
    }
}

/// Judges one bill. Pure.
pub fn judge(rule: &Rule, book: &Book, site: &str, status: &Status, live: &[LiveEntry], found: &Found) -> Judgement {
    if found.ambiguous {
        return Judgement::Park(Parked::new(
            "two rows have this key",
            "Make the key unique again, and remove the row that does not belong.",
        ));
    }
    let wanted = match &found.row {
        Some(row) => match desired(rule, book.minor_unit, site, row) {
            Ok(wanted) => wanted,
            Err(parked) => return Judgement::Park(parked),
        },
        None => {
            let no_word = match found.cause.operation.as_str() {
                "truncate" => true,
                "synchronise" => status.state == State::Retained,
                _ => false,
            };
            if no_word && !found.was_deleted && !live.is_empty() {
                return Judgement::Retain;
            }
            None
        }
    };
    Judgement::Post(entries(wanted.as_ref(), live, found.cause.change_day, &book.calendar))
}

/// Takes a judgement into the bill's status, and its entries into the batch's postings.
pub fn take<'a>(
    status: &mut Status,
    found: &'a Found,
    judgement: &Judgement,
    ids: &mut impl Iterator<Item = i64>,
    postings: &mut Vec<Posting<'a>>,
    reference_type: &str,
) {
    status.synchronisation += 1;
    match judgement {
        Judgement::Post(entries) => {
            status.state = State::Current;
            for (entry, id) in entries.iter().zip(ids) {
                status.revision += 1;
                status.last_entry_id = Some(id);
                status.last_event_seq = Some(found.cause.seq);
                match entry.reverses {
                    Some(reversed) => status.live_entry_ids.retain(|live| *live != reversed),
                    None => status.live_entry_ids.push(id),
                }
                postings.push(Posting {
                    id,
                    reference_id: status.reference_id.clone(),
                    revision: status.revision,
                    cause: &found.cause,
                    entry: entry.clone(),
                });
            }
        }
        Judgement::Park(parked) => {
            let reason = format!("{reference_type} {}: {}", status.reference_id, parked.reason);
            let (spell, parked_at) = match &status.parked {
                Some(spell) if status.state == State::Parked => (spell.spell, spell.parked_at),
                _ => (status.synchronisation, found.cause.changed_at),
            };
            status.state = State::Parked;
            status.parked = Some(ParkedSpell { spell, parked_at, reason, advice: parked.advice.clone() });
        }
        Judgement::Retain => status.state = State::Retained,
    }
}

/// How each claimed event of a bill ended. `cause` is the event that the synchronisation is attributed to; where it was
/// not claimed here, it finds later in `posted`, the entries by the events that caused them, that it has been posted.
pub fn outcomes(
    judgement: &Judgement,
    before: &Status,
    after: &Status,
    cause: i64,
    seqs: &[i64],
    posted: &HashMap<i64, i64>,
) -> Vec<Finished> {
    let highest = seqs.last().copied();
    let outcome = |seq: i64| match judgement {
        Judgement::Post(entries) if !entries.is_empty() => {
            (if seq == cause { Outcome::Posted } else { Outcome::Covered }, after.last_entry_id)
        }
        Judgement::Post(_) if Some(seq) < before.last_event_seq => (Outcome::Covered, before.last_entry_id),
        _ if Some(seq) != highest => (Outcome::Covered, None),
        Judgement::Post(_) => (Outcome::NoEffect, None),
        Judgement::Park(_) => (Outcome::Parked, None),
        Judgement::Retain => (Outcome::Retained, None),
    };
    let finished = |seq: &i64| {
        let (outcome, entry_id) = match posted.get(seq) {
            Some(entry_id) if *seq != cause || judgement.entries().is_empty() => (Outcome::Posted, Some(*entry_id)),
            _ => outcome(*seq),
        };
        Finished { seq: *seq, outcome, entry_id }
    };
    seqs.iter().map(finished).collect()
}

/// What the bill's dead letter is to be told: opened while it is parked, resolved ever after.
pub fn dead_letter(status: &Status, found: &Found) -> Option<DeadLetter> {
    let ParkedSpell { spell, parked_at, reason, advice } = status.parked.clone()?;
    let by_hand = found.cause.origin == "retry";
    Some(DeadLetter {
        reference_id: status.reference_id.clone(),
        spell,
        synchronisation: status.synchronisation,
        reason,
        advice,
        event_seq: found.cause.seq,
        parked_at,
        resolution: match status.state {
            State::Parked => None,
            State::Current | State::Retained => Some(if by_hand { "retried" } else { "healed" }),
        },
    })
}
