//! Synchronising a batch of bills: claim, lock, read, compute, post, acknowledge. One worker, one table, one batch.
//!
//! ```text
//! source   BEGIN · claim events ─────────────── read rows · flushed? ──────────────── acknowledge · COMMIT
//! ledger          BEGIN · lock bills · rule, book, live lines ─┘  └─ post · status · COMMIT ─┘
//! ```
//!
//! The order is the promise. The row is read after the bill is locked, so whoever posts has read what was committed before
//! it. The ledger commits before the queue does, so a crash in between repeats the bill, which then has no effect.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::capture::Table;
use crate::closed_cash::learn_closed_cash;
use crate::crash_point::crash_point;
use crate::database::{Parameters, Session};
use crate::error::{Doing, Error, NextStep, Result};
use crate::gaps::{Gap, Posted, bypassed_triggers, note_gaps, untold_gaps};
use crate::journal::{self, Posting};
use crate::judgement::{Judgement, Law, dead_letter, judge, outcomes, take};
use crate::ledger::{self, Known, Retained, Scope, Status};
use crate::posting::Parked;
use crate::posting::entries::LiveEntry;
use crate::posting::rule::RuleSet;
use crate::queue::{self, Claim, DeadLetter, Event, Finished, Word};
use crate::settings::Settings;
use crate::sql;

/// A table that is ready to be read.
pub(crate) struct Prepared {
    pub table: Table,
    /// Shared with whoever judges rows beside the connections.
    pub rules: Arc<RuleSet>,
    pub time_zone: String,
}

/// The connections of one worker, and what it has learned of the tables.
pub struct Worker {
    pub source: Arc<Session>,
    pub ledger: Arc<Session>,
    /// A second connection to the source that makes what was read durable; `None` where both sides are one cluster, since
    /// there the ledger's own commit does.
    pub flusher: Option<Session>,
    pub source_name: String,
    pub book: String,
    /// So many bills of a table may be reversed within an hour because their rows are gone.
    pub reversal_brake: i64,
    /// A whole table is enqueued no further while so many of its events wait.
    pub backfill_queue_max: i64,
    statement_timeout: Duration,
    pub(crate) tables: HashMap<String, Prepared>,
}

/// The bills of a claim.
#[derive(Clone, Copy)]
struct Batch<'a> {
    /// With the numbers of their events, in bytewise order: that in which they are locked.
    bills: &'a BTreeMap<&'a str, Vec<i64>>,
    /// Those that an operator has released.
    released: &'a HashSet<&'a str>,
    /// What their events say, for a bill that cannot be posted.
    words: &'a HashMap<&'a str, Word>,
    /// They are parked for this reason instead of being read.
    park: Option<&'a Parked>,
}

/// What synchronising bills has to tell the source.
#[derive(Default)]
struct Told {
    letters: Vec<DeadLetter>,
    alerts: Vec<Alert>,
    gaps: Vec<Gap>,
}

struct Alert {
    alert_type: &'static str,
    severity: &'static str,
    message: String,
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
    pub(crate) fn of_the_table(error: Error) -> Self {
        Failure { error, events: Vec::new(), of_the_table: true }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure { error, events: Vec::new(), of_the_table: false }
    }
}

impl Worker {
    pub fn new(source: Session, ledger: Session, flusher: Option<Session>, settings: &Settings) -> Self {
        Worker {
            source: Arc::new(source),
            ledger: Arc::new(ledger),
            flusher,
            source_name: settings.source_name.clone(),
            book: settings.book.clone(),
            reversal_brake: settings.reversal_brake,
            backfill_queue_max: settings.backfill_queue_max,
            statement_timeout: settings.statement_timeout,
            tables: HashMap::new(),
        }
    }

    /// Takes up the settings that may change while it works.
    pub async fn heed(&mut self, settings: &Settings) -> Result<()> {
        self.reversal_brake = settings.reversal_brake;
        self.backfill_queue_max = settings.backfill_queue_max;
        if self.statement_timeout != settings.statement_timeout {
            for session in [&*self.source, &*self.ledger].into_iter().chain(&self.flusher) {
                session.limit_statements(settings.statement_timeout).await.doing("limiting statements")?;
            }
            self.statement_timeout = settings.statement_timeout;
        }
        Ok(())
    }

    /// Synchronises the bills of one claim. With `park`, they are parked for that reason instead of being read.
    pub async fn pass(&mut self, reference_type: &str, claim: &Claim, park: Option<&Parked>) -> Result<Pass, Failure> {
        let mut events = Vec::new();
        // While one side works, the transaction on the other is idle; only a process that is alive may keep it.
        let (source, ledger) = (self.source.clone(), self.ledger.clone());
        let result = tokio::select! {
            result = self.transact(reference_type, claim, park, &mut events) => result,
            (never, _) = async { tokio::join!(source.keep_alive(), ledger.keep_alive()) } => match never {},
        };
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

    pub(crate) fn forget(&mut self, reference_type: &str) {
        if let Some(prepared) = self.tables.remove(reference_type) {
            prepared.table.forget(&self.source, &prepared.rules);
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
        *events = queue::claim(&self.source, reference_type, claim).await.map_err(Failure::of_the_table)?;
        if events.is_empty() {
            self.source.commit().await.doing("committing on the source")?;
            return Ok(Pass::default());
        }
        if events.iter().any(|event| event.reference_id.is_none()) {
            // The table may have changed: what is known of it is read again.
            self.forget(reference_type);
        }
        crash_point("after_claim");
        self.prepare(reference_type).await?;

        let whole_table: Vec<&Event> = events.iter().filter(|event| event.reference_id.is_none()).collect();
        let mut finished = self.spread(reference_type, &whole_table).await?;

        let mut bills: BTreeMap<&str, Vec<i64>> = BTreeMap::new(); // bytewise order: that in which bills are locked
        for event in events.iter() {
            if let Some(reference_id) = &event.reference_id {
                bills.entry(reference_id).or_default().push(event.seq);
            }
        }
        let released: HashSet<&str> = events
            .iter()
            .filter(|event| event.operation == "release")
            .filter_map(|event| event.reference_id.as_deref())
            .collect();
        let mut words: HashMap<&str, Word> = HashMap::new();
        for event in events.iter() {
            if let Some(reference_id) = &event.reference_id {
                let word = words.entry(reference_id).or_default();
                *word = word.and(event);
            }
        }
        let batch = Batch { bills: &bills, released: &released, words: &words, park };
        let Told { letters, alerts, gaps } = self.synchronise(reference_type, batch, &mut finished).await?;

        queue::write_dead_letters(&self.source, &self.source_name, reference_type, &letters).await?;
        if let Some(message) = note_gaps(&self.source, &self.source_name, reference_type, &gaps).await? {
            self.raise("CAPTURE_GAP", reference_type, "critical", &message).await?;
        }
        for Alert { alert_type, severity, message } in &alerts {
            self.raise(alert_type, reference_type, severity, message).await?;
        }
        queue::acknowledge(&self.source, reference_type, &finished).await?;
        crash_point("before_acknowledgement");
        self.source.commit().await.doing("committing on the source")?;
        crash_point("after_acknowledgement");
        Ok(Pass { events: events.len() })
    }

    /// Loads the rule and the table where they are not at hand.
    pub(crate) async fn prepare(&mut self, reference_type: &str) -> Result<(), Failure> {
        if self.tables.contains_key(reference_type) {
            return Ok(());
        }
        let rules =
            ledger::load_rules(&self.ledger, &self.book, reference_type).await.map_err(Failure::of_the_table)?;
        let table = Table::load(&self.source, reference_type, &rules).await.map_err(Failure::of_the_table)?;
        let book = ledger::lock_book(&self.ledger, &self.book).await.map_err(Failure::of_the_table)?;
        let time_zone = book.time_zone;
        if table.is_first {
            // With the batch, so that what is judged by them is judged anew once others are in force.
            let scope = Scope { book: &self.book, source: &self.source_name, reference_type };
            let knows = !ledger::known_bills(&self.ledger, scope, Known::All, "", 1).await?.is_empty();
            let parameters: Parameters<'_> = &[&reference_type, &rules.versions_in_force, &knows];
            self.source.execute(sql::FIRST_RULES, parameters).await.doing("noting the rule")?;
        }
        self.tables.insert(reference_type.into(), Prepared { table, rules: Arc::new(rules), time_zone });
        Ok(())
    }

    pub(crate) async fn raise(&self, alert_type: &str, cause: &str, severity: &str, message: &str) -> Result<()> {
        self.source
            .execute("SELECT daybook.raise_alert($1, $2, $3, $4)", &[&alert_type, &cause, &severity, &message])
            .await
            .doing("raising an alert")?;
        Ok(())
    }

    /// Synchronises bills; adds to `finished` how their events ended, and returns what the source is to be told.
    async fn synchronise(
        &self,
        reference_type: &str,
        Batch { bills, released, words, park }: Batch<'_>,
        finished: &mut Vec<Finished>,
    ) -> Result<Told, Failure> {
        let Some(Prepared { table, rules, time_zone }) = self.tables.get(reference_type) else {
            return Err(Error::Unexpected(format!("{reference_type} was not prepared")).into());
        };
        if bills.is_empty() {
            return Ok(Told::default());
        }
        let reference_ids: Vec<&str> = bills.keys().copied().collect();
        let scope = Scope { book: &self.book, source: &self.source_name, reference_type };

        self.ledger.begin().await.doing("beginning on the ledger")?;
        ledger::join_batches(&self.ledger, scope).await.map_err(Failure::of_the_table)?;
        let mut statuses = ledger::lock_bills(&self.ledger, scope, &reference_ids).await?;
        crash_point("after_lock");
        // The book first: whoever applies a rule or closes a period holds it, and commits before the rules are compared.
        let mut book = ledger::lock_book(&self.ledger, &self.book).await.map_err(Failure::of_the_table)?;
        ledger::check_rules(&self.ledger, &self.book, rules).await?;
        if book.time_zone != *time_zone {
            return Err(Error::DefinitionChanged(reference_type.into()).into());
        }
        let live_ids: Vec<i64> = statuses.iter().flat_map(|status| status.live_entry_ids.iter().copied()).collect();
        let mut live = journal::live_entries(&self.ledger, &live_ids).await?;

        let found = match park {
            Some(_) => table.read_causes(&self.source, time_zone, &reference_ids).await?,
            None => match table.read(&self.source, rules, time_zone, &reference_ids).await {
                // A value that one row holds, such as a date that no time zone can move: not the table's fault.
                Err(error) if error.next_step() == NextStep::Park => return Err(error.into()),
                read => read.map_err(Failure::of_the_table)?,
            },
        };
        let contradicted = self.contradicted(reference_type, words).await?;
        self.make_durable().await?;
        crash_point("after_read");

        let (go_live, on_delete) = (table.go_live(), table.on_delete());
        let lives: Vec<Vec<LiveEntry>> = statuses
            .iter()
            .map(|status| status.live_entry_ids.iter().filter_map(|id| live.remove(id)).collect())
            .collect();
        let mut judgements = loop {
            let law = Law { rules, book: &book, site: &self.source_name, go_live, on_delete };
            let judgements: Vec<Judgement> = statuses
                .iter()
                .zip(&lives)
                .zip(&found)
                .map(|((status, live), found)| match park {
                    Some(parked) => Judgement::Park(parked.clone()),
                    None => judge(&law, status, live, found, released.contains(status.reference_id.as_str())),
                })
                .collect();
            // Where they would fall into a closed day of cash, they are judged again, knowing that it is closed.
            if !learn_closed_cash(&self.ledger, &self.book, &mut book.calendar, &judgements).await? {
                break judgements;
            }
        };
        self.brake(scope, &mut judgements).await?;
        // Events that an earlier posting has seen; there are none but after a crash, or where workers met at a bill.
        let seen = statuses.iter().zip(bills).flat_map(|(status, (reference_id, seqs))| {
            seqs.iter().filter(|seq| Some(**seq) <= status.last_event_seq).map(|seq| (*reference_id, *seq))
        });
        let posted = journal::posted_events(&self.ledger, scope, &seen.collect::<Vec<_>>()).await?;
        let count = judgements.iter().map(|judgement| judgement.entries().len()).sum();
        let mut ids = journal::entry_ids(&self.ledger, count).await?.into_iter();
        let mut postings: Vec<Posting<'_>> = Vec::with_capacity(count);
        let mut changed = Vec::new();
        let (mut letters, mut gaps, mut posted_before) = (Vec::new(), Vec::new(), Vec::new());
        for (((status, found), judgement), seqs) in statuses.iter_mut().zip(&found).zip(judgements).zip(bills.values())
        {
            let before = status.clone();
            let word = match contradicted.contains(&status.reference_id) {
                true => Word::Changed,
                false => words.get(status.reference_id.as_str()).copied().unwrap_or_default(),
            };
            take(status, found, &judgement, word, &mut ids, &mut postings, reference_type);
            finished.extend(outcomes(&judgement, &before, status, found.cause.seq, seqs, &posted));
            if judgement.changes(&before) || status.digests != before.digests {
                changed.push(status.clone());
            }
            letters.extend(dead_letter(status, found));
            if table.is_cross_checked() && bypassed_triggers(&judgement, &before, found) {
                let reference_id = status.reference_id.clone();
                gaps.push(Gap { reference_id, xid: found.cause.xid.clone(), entry_id: status.last_entry_id });
            } else if table.is_cross_checked() {
                let reference_id = status.reference_id.as_str();
                let of_bill = seqs.iter().filter_map(|seq| Some((*seq, *posted.get(seq)?)));
                posted_before.extend(of_bill.map(|(seq, entry_id)| Posted { reference_id, seq, entry_id }));
            }
        }
        gaps.extend(untold_gaps(&self.source, &self.ledger, scope, &posted_before).await?);
        journal::post(&self.ledger, scope, &book, &postings).await?;
        if !changed.is_empty() {
            ledger::update_status(&self.ledger, scope, &changed).await?;
        }
        crash_point("before_ledger_commit");
        self.ledger.commit().await.doing("committing on the ledger")?;
        crash_point("after_ledger_commit");
        Ok(Told { letters, alerts: self.alerts_for(reference_type, &changed), gaps })
    }

    /// The bills that an operator has resolved, and that were changed or parked anew beside it.
    async fn contradicted(&self, reference_type: &str, words: &HashMap<&str, Word>) -> Result<HashSet<String>> {
        let resolved = words.iter().filter(|(_, word)| **word == Word::Resolved);
        let resolved: Vec<&str> = resolved.map(|(reference_id, _)| *reference_id).collect();
        if resolved.is_empty() {
            return Ok(HashSet::new());
        }
        let rows = self.source.query(sql::CONTRADICTED_WORDS, &[&reference_type, &resolved]).await;
        Ok(rows.doing("looking what speaks against a word")?.iter().map(|row| row.get(0)).collect())
    }

    /// Rows that are gone by the hundred are rather an archive job or a lost partition than that many cancelled bills: where
    /// there are more within the hour than `reversal_brake`, those of this batch keep their entries until somebody decides.
    async fn brake(&self, scope: Scope<'_>, judgements: &mut [Judgement]) -> Result<()> {
        let gone = judgements.iter().filter(|judgement| judgement.is_disappearance()).count() as i64;
        if gone == 0 {
            return Ok(());
        }
        if ledger::take_brake(&self.ledger, scope).await? + gone <= self.reversal_brake {
            return ledger::count_reversed(&self.ledger, scope, gone).await;
        }
        for judgement in judgements.iter_mut().filter(|judgement| judgement.is_disappearance()) {
            *judgement = Judgement::Retain(Retained::Brake);
        }
        Ok(())
    }

    /// What a person should know of these bills.
    fn alerts_for(&self, reference_type: &str, changed: &[Status]) -> Vec<Alert> {
        let such_as = |concerned: &dyn Fn(&Status) -> bool| {
            let mut bills =
                changed.iter().filter(|status| concerned(status)).map(|status| status.reference_id.as_str());
            bills.next().map(|first| (first.to_string(), 1 + bills.count()))
        };
        let retained = |because| such_as(&move |status: &Status| status.retained_because == Some(because));
        let mut alerts = Vec::new();
        if let Some((bill, count)) = retained(Retained::Brake) {
            let message = format!(
                "more than {} bills of {reference_type} were gone within an hour; {count} and more, such as {bill}, keep their \
                 entries until somebody decides. Reverse them: SELECT daybook.release_held('{reference_type}'). A row that \
                 comes back makes its bill ordinary again",
                self.reversal_brake
            );
            alerts.push(Alert { alert_type: "REVERSAL_BRAKE", severity: "critical", message });
        }
        if let Some((bill, count)) = retained(Retained::Alert) {
            let message = format!(
                "rows of {reference_type} were deleted, {count} just now, such as {bill}; their entries stay. Reverse one: SELECT \
                 daybook.release('{reference_type}', ...). Seen: SELECT daybook.resolve_alert('BILLS_DELETED', '{reference_type}')"
            );
            alerts.push(Alert { alert_type: "BILLS_DELETED", severity: "warning", message });
        }
        if let Some((bill, count)) = such_as(&|status: &Status| status.warning.is_some()) {
            let message = format!(
                "bills of {reference_type} were posted with a tax that differs from its rate, {count} just now, such as {bill}: \
                 column warning of ledger.sync_master_status. Seen: SELECT daybook.resolve_alert('TAX_DIFFERS', '{reference_type}')"
            );
            alerts.push(Alert { alert_type: "TAX_DIFFERS", severity: "warning", message });
        }
        alerts
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
