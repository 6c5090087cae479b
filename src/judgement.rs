//! What becomes of one bill: posted, parked or retained, and what its status, events and dead letter are told. Pure.

use std::collections::HashMap;

use chrono::NaiveDate;

use crate::capture::{Found, OnDelete};
use crate::journal::Posting;
use crate::ledger::{Book, Digests, ParkedSpell, Retained, State, Status};
use crate::posting::Parked;
use crate::posting::desired::{Circumstances, Wanted, desired};
use crate::posting::entries::{Entry, LiveEntry, entries};
use crate::posting::fingerprint::fingerprint;
use crate::posting::rule::RuleSet;
use crate::queue::{DeadLetter, Finished, Outcome, Word};

/// What is to become of a bill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// The ledger agrees with the row once these are posted.
    Post {
        entries: Vec<Entry>,
        rule_hash: String,
        /// Of the version of the rule, and of what the bill amounts to once the entries are posted.
        rule_digest: i64,
        fingerprint: Option<i64>,
        grounds: Grounds,
    },
    /// The row cannot be posted.
    Park(Parked),
    /// The row is gone, and its entries stay.
    Retain(Retained),
}

/// What a bill's entries are judged from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grounds {
    /// Its row, and what is odd about it.
    Row { warning: Option<String> },
    /// Its row, from before the table's go-live date.
    OutOfScope,
    /// Its row is gone, and an operator released it.
    Released,
    /// Its row is gone. The brake counts it, if it has entries to reverse.
    Absent,
}

impl Judgement {
    /// What is to be posted.
    pub fn entries(&self) -> &[Entry] {
        match self {
            Judgement::Post { entries, .. } => entries,
            Judgement::Park(_) | Judgement::Retain(_) => &[],
        }
    }

    /// Whether it reverses a bill because its row is gone, which the brake counts.
    pub fn is_disappearance(&self) -> bool {
        matches!(self, Judgement::Post { entries, grounds: Grounds::Absent, .. } if !entries.is_empty())
    }

    fn warning(&self) -> Option<&String> {
        match self {
            Judgement::Post { grounds: Grounds::Row { warning }, .. } => warning.as_ref(),
            _ => None,
        }
    }

    /// Whether the bill's status has to be written, besides for its digests: not where a bill that was never parked has nothing new to
    /// say.
    pub fn changes(&self, before: &Status) -> bool {
        !matches!(self, Judgement::Post { entries, .. } if entries.is_empty())
            || before.state != State::Current
            || before.parked.is_some()
            || before.warning.as_ref() != self.warning()
    }
}

/// By what a bill is judged.
pub struct Law<'a> {
    pub rules: &'a RuleSet,
    pub book: &'a Book,
    /// The source's name.
    pub site: &'a str,
    pub go_live: Option<NaiveDate>,
    pub on_delete: OnDelete,
}

/// Judges one bill. Pure.
/// `is_released`: an operator has released it, by one of the claimed events.
pub fn judge(law: &Law<'_>, status: &Status, live: &[LiveEntry], found: &Found, is_released: bool) -> Judgement {
    if found.ambiguous {
        return Judgement::Park(Parked::new(
            "two rows have this key",
            "Make the key unique again, and remove the row that does not belong.",
        ));
    }
    if found.has_null_key {
        return Judgement::Park(Parked::new(
            "a part of its key is null",
            "Set the key of the row, and make its columns NOT NULL again.",
        ));
    }
    let Some(row) = &found.row else { return judge_absent(law, status, live, found, is_released) };
    let circumstances = Circumstances { minor_unit: law.book.minor_unit, site: law.site, go_live: law.go_live };
    let version = law.rules.version_for(row);
    // A bill from before the first version may be a draft, or from before the go-live date: any version can tell.
    let (rule, wanted) = match version {
        Ok(rule) => (rule, desired(rule, circumstances, row)),
        Err(parked) => match desired(law.rules.latest(), circumstances, row) {
            Ok(wanted @ (Wanted::OutOfScope | Wanted::Nothing)) => (law.rules.latest(), Ok(wanted)),
            _ => return Judgement::Park(parked),
        },
    };
    let (wanted, grounds) = match wanted {
        Err(parked) => return Judgement::Park(parked),
        Ok(Wanted::Lines(desired)) => {
            let warning = desired.warning.clone();
            (Some(desired), Grounds::Row { warning })
        }
        Ok(Wanted::Nothing) => (None, Grounds::Row { warning: None }),
        Ok(Wanted::OutOfScope) => (None, Grounds::OutOfScope),
    };
    let entries = entries(wanted.as_ref(), live, found.cause.change_day, &law.book.calendar);
    let fingerprint = wanted.as_ref().map(|desired| fingerprint(desired.effective_date, &desired.lines));
    Judgement::Post { entries, rule_hash: rule.hash.clone(), rule_digest: rule.digest(), fingerprint, grounds }
}

/// A bill without row: reversed by the application's or the operator's word, unless the table's policy keeps it.
fn judge_absent(law: &Law<'_>, status: &Status, live: &[LiveEntry], found: &Found, is_released: bool) -> Judgement {
    let operation = found.cause.operation.as_str();
    let is_released = is_released || operation == "release";
    if !live.is_empty() && !is_released {
        match operation {
            "truncate" if !found.was_deleted => return Judgement::Retain(Retained::Truncate),
            _ if found.truncate_waits && !found.was_deleted => return Judgement::Retain(Retained::Truncate),
            // Our own look again, no word of anybody's.
            "synchronise" | "resolve" if !found.was_deleted => {
                if let Some(because) = status.retained_because {
                    return Judgement::Retain(because);
                }
            }
            _ => {}
        }
        match law.on_delete {
            OnDelete::Reverse => {}
            OnDelete::Keep => return Judgement::Retain(Retained::Keep),
            OnDelete::Alert => return Judgement::Retain(Retained::Alert),
        }
    }
    Judgement::Post {
        entries: entries(None, live, found.cause.change_day, &law.book.calendar),
        rule_hash: law.rules.latest().hash.clone(),
        rule_digest: law.rules.latest().digest(),
        fingerprint: None,
        grounds: if is_released { Grounds::Released } else { Grounds::Absent },
    }
}

/// Whether a bill that cannot be posted needs no person: an operator has said so of this spell, and neither has its row changed since,
/// nor has a look of our own found another reason.
fn stays_resolved(status: &Status, reason: &str, word: Word) -> bool {
    match (status.state, word) {
        (State::Parked | State::Resolved, Word::Resolved) => true,
        (State::Resolved, Word::None) => status.parked.as_ref().is_some_and(|spell| spell.reason == reason),
        _ => false,
    }
}

/// Takes a judgement into the bill's status, and its entries into the batch's postings. `word` is that of the claimed events.
pub fn take<'a>(
    status: &mut Status,
    found: &'a Found,
    judgement: &Judgement,
    word: Word,
    ids: &mut impl Iterator<Item = i64>,
    postings: &mut Vec<Posting<'a>>,
    reference_type: &str,
) {
    status.synchronisation += 1;
    status.retained_because = None;
    status.warning = judgement.warning().cloned();
    match judgement {
        Judgement::Post { entries, rule_hash, rule_digest, fingerprint, grounds } => {
            status.state = State::Current;
            let row = found.row_digest.filter(|_| *grounds != Grounds::OutOfScope);
            status.digests = Digests { row, rule: Some(*rule_digest), fingerprint: *fingerprint };
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
                    rule_hash: rule_hash.clone(),
                    entry: entry.clone(),
                });
            }
        }
        Judgement::Park(parked) => {
            let reason = format!("{reference_type} {}: {}", status.reference_id, parked.reason);
            let is_resolved = stays_resolved(status, &reason, word);
            let (spell, parked_at) = match &status.parked {
                Some(spell) if is_resolved || status.state == State::Parked => (spell.spell, spell.parked_at),
                _ => (status.synchronisation, found.cause.changed_at),
            };
            status.state = if is_resolved { State::Resolved } else { State::Parked };
            status.digests.row = found.row_digest;
            status.parked = Some(ParkedSpell { spell, parked_at, reason, advice: parked.advice.clone() });
        }
        Judgement::Retain(because) => {
            status.state = State::Retained;
            status.digests.row = found.row_digest;
            status.retained_because = Some(*because);
        }
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
        Judgement::Post { entries, .. } if !entries.is_empty() => {
            (if seq == cause { Outcome::Posted } else { Outcome::Covered }, after.last_entry_id)
        }
        Judgement::Post { .. } if Some(seq) < before.last_event_seq => (Outcome::Covered, before.last_entry_id),
        _ if Some(seq) != highest => (Outcome::Covered, None),
        Judgement::Post { grounds: Grounds::OutOfScope, .. } => (Outcome::OutOfScope, None),
        Judgement::Post { .. } => (Outcome::NoEffect, None),
        Judgement::Park(_) if after.state == State::Resolved => (Outcome::NoEffect, None),
        Judgement::Park(_) => (Outcome::Parked, None),
        Judgement::Retain(_) => (Outcome::Retained, None),
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
            State::Resolved => Some("resolved"),
            State::Current | State::Retained => Some(if by_hand { "retried" } else { "healed" }),
        },
    })
}
