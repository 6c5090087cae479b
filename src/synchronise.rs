//! Synchronising a batch of bills: claim, lock, read, compute, post, acknowledge. One worker, one table, one batch.
//!
//! ```text
//! source   BEGIN · claim events ─────────────── read rows · flushed? ──────────────── acknowledge · COMMIT
//! ledger          BEGIN · lock bills · rule, book, live lines ─┘  └─ post · status · COMMIT ─┘
//! ```
//!
//! The order is the promise. The row is read after the bill is locked, so whoever posts has read what was committed before
//! it. The ledger commits before the queue does, so a crash in between repeats the bill, which then has no effect.

use std::collections::{BTreeMap, HashMap};

use crate::capture::Table;
use crate::database::Session;
use crate::error::{Doing, Error, NextStep, Result};
use crate::judgement::{Judgement, dead_letter, judge, outcomes, take};
use crate::ledger::{self, Posting, Scope};
use crate::posting::Parked;
use crate::posting::entries::LiveEntry;
use crate::posting::rule::Rule;
use crate::queue::{self, Claim, DeadLetter, Event, Finished, Outcome};

/// How many bills that the ledger knows are read and enqueued at a time.
const KNOWN_BILLS_PAGE: i64 = 10_000;

/// A table that is ready to be read.
struct Prepared {
    table: Table,
    rule: Rule,
    time_zone: String,
}

/// The connections of one worker, and what it has learned of the tables.
pub struct Worker {
    pub source: Session,
    pub ledger: Session,
    /// A second connection to the source that makes what was read durable; `None` where both sides are one cluster, since
    /// there the ledger's own commit does.
    pub flusher: Option<Session>,
    pub source_name: String,
    pub book: String,
    tables: HashMap<String, Prepared>,
}

/// What a pass over one table did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// Events that left the queue, or were put back with a later due time.
    pub events: usize,
}

/// A pass that failed; everything was rolled back.
#[derive(Debug)]
pub struct Failure {
    pub error: Error,
    /// What had been claimed.
    pub events: Vec<Event>,
    /// Whether it is no bill's fault: the table's definition or its rows could not be read, or a lock that all its bills
    /// need was not free. It uses up no attempt.
    pub of_the_table: bool,
}

impl Failure {
    fn of_the_table(error: Error) -> Self {
        Failure { error, events: Vec::new(), of_the_table: true }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure { error, events: Vec::new(), of_the_table: false }
    }
}

impl Worker {
    pub fn new(source: Session, ledger: Session, flusher: Option<Session>, source_name: String, book: String) -> Self {
        Worker { source, ledger, flusher, source_name, book, tables: HashMap::new() }
    }

    /// Synchronises the bills of one claim. With `park`, they are parked for that reason instead of being read.
    pub async fn pass(&mut self, reference_type: &str, claim: &Claim, park: Option<&Parked>) -> Result<Pass, Failure> {
        let mut events = Vec::new();
        let result = self.transact(reference_type, claim, park, &mut events).await;
        result.map_err(|failure| {
            self.forget(reference_type);
            Failure { events, ..failure }
        })
    }

    /// Ends what a failed pass left open. Fails where a connection is gone.
    pub async fn rollback(&self) -> Result<()> {
        self.ledger.rollback().await.doing("rolling back on the ledger")?;
        self.source.rollback().await.doing("rolling back on the source")?;
        match &self.flusher {
            Some(flusher) => flusher.batch_execute("SELECT").await.doing("looking whether the flusher is there"),
            None => Ok(()),
        }
    }

    fn forget(&mut self, reference_type: &str) {
        if let Some(prepared) = self.tables.remove(reference_type) {
            prepared.table.forget(&self.source, &prepared.rule);
        }
    }

    async fn transact(
        &mut self,
        reference_type: &str,
        claim: &Claim,
        park: Option<&Parked>,
        events: &mut Vec<Event>,
    ) -> Result<Pass, Failure> {
        self.source.begin().await.doing("beginning on the source")?;
        *events = queue::claim(&self.source, reference_type, claim).await?;
        if events.is_empty() {
            self.source.commit().await.doing("committing on the source")?;
            return Ok(Pass::default());
        }
        if events.iter().any(|event| event.reference_id.is_none()) {
            // The table may have changed: what is known of it is read again.
            self.forget(reference_type);
        }
        self.prepare(reference_type).await?;

        let whole_table: Vec<&Event> = events.iter().filter(|event| event.reference_id.is_none()).collect();
        let mut finished = self.spread(reference_type, &whole_table).await?;

        let mut bills: BTreeMap<&str, Vec<i64>> = BTreeMap::new(); // bytewise order: that in which bills are locked
        for event in events.iter() {
            if let Some(reference_id) = &event.reference_id {
                bills.entry(reference_id).or_default().push(event.seq);
            }
        }
        let letters = self.synchronise(reference_type, &bills, park, &mut finished).await?;

        queue::write_dead_letters(&self.source, &self.source_name, reference_type, &letters).await?;
        queue::acknowledge(&self.source, reference_type, &finished).await?;
        self.source.commit().await.doing("committing on the source")?;
        Ok(Pass { events: events.len() })
    }

    /// Loads the rule and the table where they are not at hand.
    async fn prepare(&mut self, reference_type: &str) -> Result<(), Failure> {
        if self.tables.contains_key(reference_type) {
            return Ok(());
        }
        let rule = ledger::load_rule(&self.ledger, &self.book, reference_type).await.map_err(Failure::of_the_table)?;
        let table = Table::load(&self.source, reference_type, &rule).await.map_err(Failure::of_the_table)?;
        let book = ledger::lock_book(&self.ledger, &self.book).await.map_err(Failure::of_the_table)?;
        let time_zone = book.time_zone;
        self.tables.insert(reference_type.into(), Prepared { table, rule, time_zone });
        Ok(())
    }

    /// Turns events of the whole table into events of its bills. They join the queue in the transaction in which the event
    /// leaves it.
    async fn spread(&mut self, reference_type: &str, events: &[&Event]) -> Result<Vec<Finished>, Failure> {
        let mut finished = Vec::new();
        let (mut reconcile, mut truncated) = (false, false);
        for event in events {
            match event.operation.as_str() {
                "truncate" => truncated = true,
                "reconcile" => {
                    let ended = "SELECT daybook.older_transactions_ended($1::text::xid8)";
                    let ended =
                        self.source.query_one(ended, &[&event.xid]).await.doing("looking for older transactions")?;
                    if !ended.get::<_, bool>(0) {
                        let why = "waits until every transaction and snapshot older than the resumption has ended";
                        queue::postpone(&self.source, reference_type, &[event.seq], 1.0, 0, why).await?;
                        continue;
                    }
                    reconcile = true;
                }
                _ => {
                    let problem = "SELECT daybook.refresh_capture($1)";
                    let problem =
                        self.source.query_one(problem, &[&reference_type]).await.doing("looking at the key")?;
                    if let Some(problem) = problem.get::<_, Option<String>>(0) {
                        return Err(Failure::of_the_table(Error::TableUnreadable(problem)));
                    }
                    let message = format!(
                        "the key of a changed row of {reference_type} could not be read as it was attached; every bill of the \
                         table is being synchronised"
                    );
                    self.raise("TABLE_DIRTY", reference_type, "warning", &message).await?;
                    reconcile = true;
                }
            }
            finished.push(Finished { seq: event.seq, outcome: Outcome::Covered, entry_id: None });
        }
        if !reconcile && !truncated {
            return Ok(finished);
        }

        // As long as this takes; the queue's events are locked, and no bill is.
        self.source.batch_execute("SET LOCAL statement_timeout = 0").await.doing("lifting the time limit")?;
        if reconcile {
            self.forget(reference_type);
            self.prepare(reference_type).await?;
            if let Some(prepared) = self.tables.get(reference_type) {
                prepared.table.enqueue_all(&self.source).await.map_err(Failure::of_the_table)?;
            }
            self.enqueue_known_bills(reference_type, "synchronise").await?;
        }
        if truncated {
            let count = self.enqueue_known_bills(reference_type, "truncate").await?;
            let message = format!(
                "the table of {reference_type} was truncated. {count} bills of it have entries; those whose rows are gone keep \
                 them until somebody decides: SELECT daybook.release('{reference_type}', ...) reverses one"
            );
            self.raise("TABLE_TRUNCATED", reference_type, "critical", &message).await?;
        }
        Ok(finished)
    }

    /// Enqueues every bill of the table that the ledger holds something of; returns how many there are.
    async fn enqueue_known_bills(&self, reference_type: &str, operation: &str) -> Result<usize, Failure> {
        let scope = Scope { book: &self.book, source: &self.source_name, reference_type };
        self.ledger.begin().await.doing("beginning on the ledger")?;
        ledger::wait_for_batches(&self.ledger, scope).await.map_err(Failure::of_the_table)?;
        let mut count = 0;
        let mut last = String::new();
        loop {
            let page = ledger::known_bills(&self.ledger, scope, &last, KNOWN_BILLS_PAGE).await?;
            let Some(highest) = page.last() else { break };
            last.clone_from(highest);
            count += page.len();
            self.source
                .execute(crate::sql::ENQUEUE_KNOWN_BILLS, &[&self.source_name, &reference_type, &page, &operation])
                .await
                .doing("enqueueing bills that the ledger knows")?;
        }
        self.ledger.commit().await.doing("committing on the ledger")?;
        Ok(count)
    }

    async fn raise(&self, alert_type: &str, cause: &str, severity: &str, message: &str) -> Result<()> {
        self.source
            .execute("SELECT daybook.raise_alert($1, $2, $3, $4)", &[&alert_type, &cause, &severity, &message])
            .await
            .doing("raising an alert")?;
        Ok(())
    }

    /// Synchronises bills; adds to `finished` how their events ended, and returns what their dead letters are to be told.
    async fn synchronise(
        &self,
        reference_type: &str,
        bills: &BTreeMap<&str, Vec<i64>>,
        park: Option<&Parked>,
        finished: &mut Vec<Finished>,
    ) -> Result<Vec<DeadLetter>, Failure> {
        let Some(Prepared { table, rule, time_zone }) = self.tables.get(reference_type) else {
            return Err(Error::Unexpected(format!("{reference_type} was not prepared")).into());
        };
        if bills.is_empty() {
            return Ok(Vec::new());
        }
        let reference_ids: Vec<&str> = bills.keys().copied().collect();
        let scope = Scope { book: &self.book, source: &self.source_name, reference_type };

        self.ledger.begin().await.doing("beginning on the ledger")?;
        ledger::join_batches(&self.ledger, scope).await.map_err(Failure::of_the_table)?;
        let mut statuses = ledger::lock_bills(&self.ledger, scope, &reference_ids).await?;
        ledger::check_rule(&self.ledger, &self.book, rule).await?;
        let book = ledger::lock_book(&self.ledger, &self.book).await.map_err(Failure::of_the_table)?;
        if book.time_zone != *time_zone {
            return Err(Error::DefinitionChanged(reference_type.into()).into());
        }
        let live_ids: Vec<i64> = statuses.iter().flat_map(|status| status.live_entry_ids.iter().copied()).collect();
        let mut live = ledger::live_entries(&self.ledger, &live_ids).await?;

        let found = match park {
            Some(_) => table.read_causes(&self.source, time_zone, &reference_ids).await?,
            None => match table.read(&self.source, rule, time_zone, &reference_ids).await {
                // A value that one row holds, such as a date that no time zone can move: not the table's fault.
                Err(error) if error.next_step() == NextStep::Park => return Err(error.into()),
                read => read.map_err(Failure::of_the_table)?,
            },
        };
        self.make_durable().await?;

        let mut judgements = Vec::with_capacity(bills.len());
        for (status, found) in statuses.iter().zip(&found) {
            let live: Vec<LiveEntry> = status.live_entry_ids.iter().filter_map(|id| live.remove(id)).collect();
            judgements.push(match park {
                Some(parked) => Judgement::Park(parked.clone()),
                None => judge(rule, &book, &self.source_name, status, &live, found),
            });
        }
        // Events that an earlier posting has seen; there are none but after a crash, or where workers met at a bill.
        let seen = statuses.iter().zip(bills).flat_map(|(status, (reference_id, seqs))| {
            seqs.iter().filter(|seq| Some(**seq) <= status.last_event_seq).map(|seq| (*reference_id, *seq))
        });
        let posted = ledger::posted_events(&self.ledger, scope, &seen.collect::<Vec<_>>()).await?;
        let count = judgements.iter().map(|judgement| judgement.entries().len()).sum();
        let mut ids = ledger::entry_ids(&self.ledger, count).await?.into_iter();
        let mut postings: Vec<Posting<'_>> = Vec::with_capacity(count);
        let mut changed = Vec::new();
        let mut letters = Vec::new();
        for (((status, found), judgement), seqs) in statuses.iter_mut().zip(&found).zip(judgements).zip(bills.values())
        {
            let before = status.clone();
            take(status, found, &judgement, &mut ids, &mut postings, reference_type);
            finished.extend(outcomes(&judgement, &before, status, found.cause.seq, seqs, &posted));
            if judgement.changes(&before) {
                changed.push(status.clone());
            }
            letters.extend(dead_letter(status, found));
        }
        ledger::post(&self.ledger, scope, &book, rule, &postings).await?;
        if !changed.is_empty() {
            ledger::update_status(&self.ledger, scope, &changed).await?;
        }
        self.ledger.commit().await.doing("committing on the ledger")?;
        Ok(letters)
    }

    /// What was read must be durable before it is posted (design, rule 5). A transaction that was committed with
    /// `synchronous_commit = off` is visible before it is; a message of our own, committed durably, flushes it along.
    async fn make_durable(&self) -> Result<()> {
        let Some(flusher) = &self.flusher else {
            return Ok(());
        };
        let behind = "SELECT pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn()";
        let behind = self.source.query_one(behind, &[]).await.doing("comparing WAL positions")?;
        if behind.get(0) {
            let message = "SELECT pg_logical_emit_message(true, 'daybook', '')";
            flusher.query_one(message, &[]).await.doing("flushing what was read")?;
        }
        Ok(())
    }
}
