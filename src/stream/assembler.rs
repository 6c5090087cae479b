//! From messages to transactions: the keys of what was changed, and of what triggers enqueued. Pure.

use std::collections::{HashMap, HashSet};

use super::pgoutput::{Column, Message, Tuple, Value};
use super::transaction::{Definition, Enqueued, Mode, Operation, Transaction, forget_keys, is_read_alike};
use crate::key;

/// What taking a message came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// More is to come.
    Nothing,
    /// A transaction is complete.
    Committed(Transaction),
    /// It is about a table that is not known, or not as it is: the definitions are to be read again, and the message taken again.
    Unknown,
}

/// The queue's own table, and where its columns stand.
#[derive(Debug, Clone, Copy)]
struct QueuePlaces {
    reference_type: usize,
    reference_id: usize,
    operation: usize,
    origin: usize,
}

/// A relation as the stream has described it.
#[derive(Debug)]
struct Described {
    columns: Vec<(String, u32)>,
    /// Which of them are part of its replica identity.
    identity: Vec<bool>,
    /// Where its key stands; `None` where it has no key as it was attached.
    key: Option<Vec<usize>>,
}

/// Puts transactions together.
#[derive(Debug)]
pub struct Assembler {
    definitions: HashMap<u32, Definition>,
    relations: HashMap<u32, Described>,
    /// Published, and attached by nobody.
    ignored: HashSet<u32>,
    queue: u32,
    queue_places: Option<QueuePlaces>,
    pub current: Option<Transaction>,
}

/// A longer key is not kept: as in the capture function.
const KEY_BYTES_MAX: usize = 1024;

impl Assembler {
    /// `queue` is the OID of `daybook.sync_queue`.
    pub fn new(queue: u32, definitions: HashMap<u32, Definition>) -> Assembler {
        Assembler {
            definitions,
            relations: HashMap::new(),
            ignored: HashSet::new(),
            queue,
            queue_places: None,
            current: None,
        }
    }

    pub fn definitions(&self) -> &HashMap<u32, Definition> {
        &self.definitions
    }

    /// Takes up what is attached now. What the transaction under way has read by another key is of no use any more: its table is looked at
    /// as a whole.
    pub fn redefine(&mut self, definitions: HashMap<u32, Definition>) {
        let before = &self.definitions;
        let is_as_before = |id: &u32| is_read_alike(before.get(id), definitions.get(id));
        if let Some(transaction) = &mut self.current {
            forget_keys(transaction, is_as_before);
        }
        self.definitions = definitions;
        self.ignored.clear();
        for (id, described) in &mut self.relations {
            described.key = self.definitions.get(id).and_then(|definition| key_places(definition, &described.columns));
        }
    }

    pub fn take(&mut self, message: &Message<'_>) -> Taken {
        match message {
            Message::Begin { final_lsn, committed_at, xid } => {
                self.current = Some(Transaction {
                    xid: *xid,
                    commit_lsn: *final_lsn,
                    committed_at: *committed_at,
                    ..Transaction::default()
                });
            }
            Message::Commit { end_lsn, .. } => {
                if let Some(transaction) = self.current.take() {
                    return Taken::Committed(Transaction { end_lsn: *end_lsn, ..transaction });
                }
            }
            Message::Relation(relation) if relation.id == self.queue => {
                let place = |name| relation.columns.iter().position(|column| column.name == name);
                self.queue_places = (|| {
                    Some(QueuePlaces {
                        reference_type: place("reference_type")?,
                        reference_id: place("reference_id")?,
                        operation: place("operation")?,
                        origin: place("origin")?,
                    })
                })();
            }
            Message::Relation(relation) => {
                let columns = relation.columns.iter().map(|Column { name, type_id, .. }| (name.to_string(), *type_id));
                let columns: Vec<(String, u32)> = columns.collect();
                let identity = relation.columns.iter().map(|column| column.is_identity).collect();
                let definition = self.definitions.get(&relation.id);
                let key = definition.and_then(|of| key_places(of, &columns));
                // It is published, so that it is captured in another way than when the definitions were read.
                let has_changed = definition.is_some_and(|of| of.mode == Mode::Trigger);
                self.relations.insert(relation.id, Described { columns, identity, key });
                self.ignored.remove(&relation.id);
                if has_changed {
                    return Taken::Unknown;
                }
            }
            Message::Insert { relation, new } if *relation == self.queue => self.take_queued(new),
            Message::Insert { relation, new } => return self.take_row(*relation, None, Some(new), Operation::Insert),
            Message::Update { relation, old, new } => {
                return self.take_row(*relation, old.as_ref(), Some(new), Operation::Update);
            }
            Message::Delete { relation, old } => {
                return self.take_row(*relation, Some(old), None, Operation::Delete);
            }
            Message::Truncate { relations } => {
                if relations.iter().any(|id| self.is_unknown(*id)) {
                    return Taken::Unknown;
                }
                for id in relations.iter().filter(|id| self.definitions.contains_key(id)) {
                    if let Some(transaction) = &mut self.current {
                        transaction.changed.entry(*id).or_default().is_truncated = true;
                    }
                }
            }
            Message::Origin { .. } | Message::Type { .. } | Message::Message { .. } => {}
        }
        Taken::Nothing
    }

    /// From now on its changes are passed over, until the definitions are read again.
    pub fn ignore_unknown(&mut self, message: &Message<'_>) {
        match message {
            Message::Insert { relation, .. } | Message::Update { relation, .. } | Message::Delete { relation, .. } => {
                self.ignored.insert(*relation);
            }
            Message::Truncate { relations } => {
                let unknown: Vec<u32> = relations.iter().copied().filter(|id| self.is_unknown(*id)).collect();
                self.ignored.extend(unknown);
            }
            _ => {}
        }
    }

    fn is_unknown(&self, relation: u32) -> bool {
        relation != self.queue && !self.definitions.contains_key(&relation) && !self.ignored.contains(&relation)
    }

    fn take_row(
        &mut self,
        relation: u32,
        old: Option<&Tuple<'_>>,
        new: Option<&Tuple<'_>>,
        operation: Operation,
    ) -> Taken {
        if self.is_unknown(relation) {
            return Taken::Unknown;
        }
        let (Some(definition), Some(transaction)) = (self.definitions.get(&relation), &mut self.current) else {
            return Taken::Nothing;
        };
        // Where the key is no longer part of the replica identity, nothing tells whether an UPDATE changed it.
        let is_told = |described: &&Described, places: &[usize]| {
            operation != Operation::Update || old.is_some() || places.iter().all(|at| described.identity[*at])
        };
        let described = self.relations.get(&relation);
        let places = described.and_then(|of| of.key.as_ref().filter(|places| is_told(&of, places)));
        let key = |tuple: &Tuple<'_>, before: Option<&Tuple<'_>>| {
            places.and_then(|places| key_of(definition, places, tuple, before))
        };
        let changed = transaction.changed.entry(relation).or_default();
        let mut note = |key: Option<String>, operation: Operation| match key {
            Some(key) => {
                changed.keys.entry(key).and_modify(|before| *before = before.and(operation)).or_insert(operation);
            }
            None => changed.without_key = Some(operation),
        };
        match (old, new) {
            (old, Some(new)) => {
                let key_of_new = key(new, old);
                if let Some(old) = old {
                    let key_of_old = key(old, None);
                    if key_of_old != key_of_new {
                        note(key_of_old, Operation::Delete);
                    }
                }
                note(key_of_new, operation);
            }
            (Some(old), None) => note(key(old, None), operation),
            (None, None) => {}
        }
        Taken::Nothing
    }

    fn take_queued(&mut self, row: &Tuple<'_>) {
        let (Some(places), Some(transaction)) = (self.queue_places, &mut self.current) else { return };
        let text = |at: usize| match row.get(at) {
            Some(Value::Text(bytes)) => std::str::from_utf8(bytes).ok(),
            _ => None,
        };
        if text(places.origin) != Some("trigger") {
            return;
        }
        let Some(reference_type) = text(places.reference_type) else { return };
        transaction.wakes = true;
        // Only where both ways are compared.
        if !self.definitions.values().any(|of| of.mode == Mode::Both && of.reference_type == reference_type) {
            return;
        }
        if !transaction.enqueued.contains_key(reference_type) {
            transaction.enqueued.insert(reference_type.to_string(), Enqueued::default());
        }
        let Some(enqueued) = transaction.enqueued.get_mut(reference_type) else { return };
        match (text(places.reference_id), text(places.operation)) {
            (Some(reference_id), _) => {
                enqueued.keys.insert(reference_id.to_string());
            }
            (None, Some("truncate")) => enqueued.is_truncated = true,
            (None, _) => enqueued.without_key = true,
        }
    }
}

/// Where the key's columns stand; `None` where one is missing, or of another type.
fn key_places(definition: &Definition, columns: &[(String, u32)]) -> Option<Vec<usize>> {
    // Not by the first few of them.
    if definition.key_columns.len() != definition.key_type_ids.len() {
        return None;
    }
    let place = |(name, type_id): (&String, &u32)| columns.iter().position(|(of, id)| of == name && id == type_id);
    definition.key_columns.iter().zip(&definition.key_type_ids).map(place).collect()
}

/// `before`: the old row, where it is told; it has the large values that are not told again.
fn key_of(definition: &Definition, places: &[usize], tuple: &Tuple<'_>, before: Option<&Tuple<'_>>) -> Option<String> {
    let text = |at: &usize| {
        let value = match (tuple.get(*at), before) {
            (Some(Value::Unchanged), Some(before)) => before.get(*at),
            (value, _) => value,
        };
        match value {
            Some(Value::Text(bytes)) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    };
    let texts: Option<Vec<&str>> = places.iter().map(text).collect();
    key::of_wire(&texts?, &definition.key_types).filter(|key| key.len() <= KEY_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::pgoutput::{Lsn, Relation};
    use crate::stream::transaction::events;

    fn definition(mode: Mode, mode_since: Lsn) -> HashMap<u32, Definition> {
        let of = Definition {
            relation: 5,
            reference_type: "LAB".into(),
            key_columns: vec!["id".into()],
            key_type_ids: vec![20],
            key_types: vec!["bigint".into()],
            mode,
            mode_since,
            is_suspended: false,
        };
        HashMap::from([(5, of)])
    }

    fn relation(columns: &[(&'static str, u32)]) -> Message<'static> {
        let columns = columns.iter().map(|(name, type_id)| Column { name, type_id: *type_id, is_identity: true });
        let columns = columns.collect();
        Message::Relation(Relation { id: 5, namespace: "public", name: "lab_bills", replica_identity: b'd', columns })
    }

    fn queue() -> Message<'static> {
        let columns = ["reference_type", "reference_id", "operation", "origin"];
        let columns = columns.map(|name| Column { name, type_id: 25, is_identity: false }).to_vec();
        Message::Relation(Relation { id: 9, namespace: "daybook", name: "sync_queue", replica_identity: b'd', columns })
    }

    fn row(values: &[&'static str]) -> Tuple<'static> {
        values.iter().map(|value| Value::Text(value.as_bytes())).collect()
    }

    /// One transaction, committed at 100, by these definitions: what it calls for.
    fn told(definitions: HashMap<u32, Definition>, messages: &[Message<'static>]) -> Vec<String> {
        let mut assembler = Assembler::new(9, definitions);
        let begin = Message::Begin { final_lsn: 100, committed_at: 0, xid: 7 };
        let commit = Message::Commit { commit_lsn: 100, end_lsn: 120, committed_at: 0 };
        let mut done = None;
        for message in [begin]
            .iter()
            .chain([queue(), relation(&[("id", 20), ("note", 25)])].iter())
            .chain(messages)
            .chain([&commit])
        {
            if let Taken::Committed(transaction) = assembler.take(message) {
                done = Some(transaction);
            }
        }
        let transaction = done.expect("is complete");
        assert_eq!((transaction.xid, transaction.end_lsn), (7, 120));
        events(&transaction, assembler.definitions())
            .iter()
            .map(|event| format!("{} {}", event.operation, event.reference_id.unwrap_or("-")))
            .collect()
    }

    fn insert(id: &'static str) -> Message<'static> {
        Message::Insert { relation: 5, new: row(&[id, "note"]) }
    }

    fn enqueued(id: &'static str) -> Message<'static> {
        Message::Insert { relation: 9, new: row(&["LAB", id, "insert", "trigger"]) }
    }

    #[test]
    fn the_keys_changed_less_those_enqueued_are_what_bypassed_the_triggers() {
        let both = || definition(Mode::Both, 50);
        assert!(told(both(), &[insert("1"), enqueued("1")]).is_empty());
        // All rows first, then all of the queue's.
        assert_eq!(told(both(), &[insert("1"), insert("2"), insert("3"), enqueued("1"), enqueued("3")]), ["insert 2"]);
        assert_eq!(told(definition(Mode::Wal, 50), &[insert("1"), enqueued("1")]), ["insert 1"]);
        assert!(told(definition(Mode::Trigger, 50), &[insert("1")]).is_empty());
        // What was enqueued by daybook itself is no trigger's word.
        let ours = Message::Insert { relation: 9, new: row(&["LAB", "1", "synchronise", "repair"]) };
        assert_eq!(told(both(), &[insert("1"), ours]), ["insert 1"]);
    }

    #[test]
    fn what_was_committed_before_the_mode_began_says_nothing_of_the_triggers() {
        assert_eq!(told(definition(Mode::Both, 150), &[insert("1")]), ["synchronise 1"]);
        assert_eq!(told(definition(Mode::Trigger, 150), &[insert("1")]), ["synchronise 1"]);
        let mut suspended = definition(Mode::Wal, 50);
        suspended.values_mut().for_each(|of| of.is_suspended = true);
        assert!(told(suspended, &[insert("1")]).is_empty());
    }

    #[test]
    fn a_changed_key_is_both_keys_and_the_last_that_was_done_to_a_row_counts() {
        let wal = || definition(Mode::Wal, 0);
        let update = |old: Option<&'static str>, new| Message::Update {
            relation: 5,
            old: old.map(|old| row(&[old])),
            new: row(&[new, "note"]),
        };
        let delete = |id| Message::Delete { relation: 5, old: row(&[id]) };
        assert_eq!(told(wal(), &[update(Some("1"), "2")]), ["delete 1", "update 2"]);
        assert_eq!(told(wal(), &[insert("1"), update(None, "1")]), ["insert 1"]);
        assert_eq!(told(wal(), &[update(None, "1"), delete("1")]), ["delete 1"]);
        assert_eq!(told(wal(), &[delete("1"), insert("1")]), ["insert 1"]);
    }

    #[test]
    fn a_key_that_is_not_as_it_was_attached_concerns_the_whole_table() {
        let wal = || definition(Mode::Wal, 0);
        let renamed = relation(&[("bill_id", 20), ("note", 25)]);
        assert_eq!(told(wal(), &[renamed, insert("1")]), ["insert -"]);
        let retyped = relation(&[("id", 701), ("note", 25)]);
        assert_eq!(told(wal(), &[retyped, insert("1")]), ["insert -"]);
        assert_eq!(told(wal(), &[insert("no number")]), ["insert -"]);
        let unchanged = Message::Update { relation: 5, old: None, new: vec![Value::Unchanged, Value::Null] };
        assert_eq!(told(wal(), &[unchanged]), ["update -"]);
        let columns = vec![
            Column { name: "id", type_id: 20, is_identity: false },
            Column { name: "note", type_id: 25, is_identity: true },
        ];
        let elsewhere = Relation { id: 5, namespace: "public", name: "lab_bills", replica_identity: b'i', columns };
        let elsewhere = Message::Relation(elsewhere);
        let update = Message::Update { relation: 5, old: None, new: row(&["2", "note"]) };
        assert_eq!(told(wal(), &[elsewhere, update]), ["update -"], "nobody can tell which key it had");
        let truncate = Message::Truncate { relations: vec![5] };
        assert_eq!(told(wal(), std::slice::from_ref(&truncate)), ["truncate -"]);
        let by_trigger = Message::Insert {
            relation: 9,
            new: vec![Value::Text(b"LAB"), Value::Null, Value::Text(b"truncate"), Value::Text(b"trigger")],
        };
        assert!(told(definition(Mode::Both, 0), &[truncate, by_trigger]).is_empty());
    }
}
