//! Transactions, and the events that they call for: which bills they changed, and which of them no trigger enqueued. Pure.

use std::collections::{HashMap, HashSet};

use super::pgoutput::Lsn;

/// How a table is captured, as `daybook.sync_source.capture_mode` spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Trigger,
    Wal,
    Both,
}

/// An attached table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    pub relation: u32,
    pub reference_type: String,
    pub key_columns: Vec<String>,
    /// Their types when it was attached, by OID and by the name of the base type.
    pub key_type_ids: Vec<u32>,
    pub key_types: Vec<String>,
    pub mode: Mode,
    /// What was committed before was captured in another mode.
    pub mode_since: Lsn,
    pub is_suspended: bool,
}

/// What happened to a row, by the last that a transaction did to it; a row that came with it is inserted, whatever followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Insert,
    Update,
    Delete,
}

impl Operation {
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Insert => "insert",
            Operation::Update => "update",
            Operation::Delete => "delete",
        }
    }

    pub(super) fn and(self, next: Operation) -> Operation {
        match (self, next) {
            (Operation::Insert, Operation::Update) => Operation::Insert,
            _ => next,
        }
    }
}

/// What a transaction did to one table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    pub keys: HashMap<String, Operation>,
    /// A row was changed whose key could not be read as it was attached.
    pub without_key: Option<Operation>,
    pub is_truncated: bool,
    /// It was attached anew while it was read: keys of it that were moved out of memory are of no use.
    pub is_misread: bool,
}

/// What triggers enqueued in a transaction, of one reference type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Enqueued {
    pub keys: HashSet<String>,
    pub without_key: bool,
    pub is_truncated: bool,
}

/// A committed transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transaction {
    pub xid: u32,
    pub commit_lsn: Lsn,
    /// Where the WAL goes on behind it.
    pub end_lsn: Lsn,
    /// In microseconds since the beginning of 2000.
    pub committed_at: i64,
    /// By relation.
    pub changed: HashMap<u32, Changed>,
    /// By reference type.
    pub enqueued: HashMap<String, Enqueued>,
    /// Whether triggers enqueued anything in it, so that a consumer has work.
    pub wakes: bool,
}

impl Transaction {
    /// How many keys it holds.
    pub fn size(&self) -> usize {
        self.changed.values().map(|changed| changed.keys.len()).sum::<usize>()
            + self.enqueued.values().map(|enqueued| enqueued.keys.len()).sum::<usize>()
    }
}

/// An event that a transaction calls for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent<'a> {
    pub reference_type: &'a str,
    /// `None` where it concerns the whole table.
    pub reference_id: Option<&'a str>,
    pub operation: &'static str,
}

/// What of a table's changes in a transaction is to be enqueued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needed {
    Nothing,
    /// All, since nobody else does, as what they were.
    All,
    /// All, as looks of our own: it was captured in another way then.
    AllAsLooks,
    /// What no trigger enqueued.
    Bypassed,
}

impl Definition {
    pub fn needed(&self, commit_lsn: Lsn) -> Needed {
        match (self.is_suspended, commit_lsn < self.mode_since, self.mode) {
            (true, _, _) => Needed::Nothing, // resume has all of it reconciled
            (_, true, _) => Needed::AllAsLooks,
            (_, _, Mode::Trigger) => Needed::Nothing,
            (_, _, Mode::Wal) => Needed::All,
            (_, _, Mode::Both) => Needed::Bypassed,
        }
    }
}

/// The events that a transaction calls for, in the order of their keys. A table that is attached no more calls for none.
pub fn events<'a>(transaction: &'a Transaction, definitions: &'a HashMap<u32, Definition>) -> Vec<NewEvent<'a>> {
    let nothing = Enqueued::default();
    let mut events = Vec::new();
    for (relation, changed) in &transaction.changed {
        let Some(definition) = definitions.get(relation) else { continue };
        let needed = definition.needed(transaction.commit_lsn);
        if needed == Needed::Nothing {
            continue;
        }
        let reference_type = definition.reference_type.as_str();
        let enqueued = match needed {
            Needed::Bypassed => transaction.enqueued.get(reference_type).unwrap_or(&nothing),
            _ => &nothing,
        };
        let of_the_table = |operation| NewEvent { reference_type, reference_id: None, operation };
        if changed.is_truncated && !enqueued.is_truncated {
            events.push(of_the_table("truncate"));
        }
        if enqueued.without_key {
            continue; // the whole table is looked at
        }
        if let Some(operation) = changed.without_key {
            events.push(of_the_table(operation.as_str()));
        }
        let mut keys: Vec<(&String, &Operation)> =
            changed.keys.iter().filter(|(id, _)| !enqueued.keys.contains(*id)).collect();
        keys.sort_unstable_by_key(|(id, _)| *id);
        events.extend(keys.into_iter().map(|(id, operation)| NewEvent {
            reference_type,
            reference_id: Some(id),
            operation: if needed == Needed::AllAsLooks { "synchronise" } else { operation.as_str() },
        }));
    }
    events
}

/// Forgets the keys of tables that are not as they were when they were read: they are looked at as a whole. Also where no key is left here,
/// because they were moved out of memory.
pub fn forget_keys(transaction: &mut Transaction, is_as_before: impl Fn(&u32) -> bool) {
    for (_, changed) in transaction.changed.iter_mut().filter(|(id, _)| !is_as_before(id)) {
        let operation = changed.keys.values().next().copied().unwrap_or(Operation::Update);
        changed.keys.clear();
        changed.without_key.get_or_insert(operation);
        changed.is_misread = true;
    }
}

/// Whether rows of a table are read by the same key under both definitions.
pub fn is_read_alike(before: Option<&Definition>, now: Option<&Definition>) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => {
            (&before.key_columns, &before.key_type_ids) == (&now.key_columns, &now.key_type_ids)
        }
        (before, _) => before.is_none(),
    }
}
